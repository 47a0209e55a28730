"""The messages of the Open Inference Protocol over gRPC, and its service, as protobuf descriptors.

They are built from the table below into a descriptor pool of their own. The default pool would refuse them in a process
that has imported KServe's or Triton's generated modules: those name the same messages, and differ from each other.

Where the two differ, a message here has the fields of both:

- Triton's load and unload requests have the repository's name as field 1 and the model's as field 2; KServe's have the
  model's as field 1. `model_of` tells which.
- KServe's answers to them say what was done, Triton's are empty.
- Triton's parameters know more types, and only Triton lists the repository.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

__all__ = ["FILE", "METHODS", "SERVICE", "DecodeError", "Message", "message_class", "model_of"]

_PACKAGE: Final = "inference"
SERVICE: Final = f"{_PACKAGE}.GRPCInferenceService"

_TENSOR: Final = "name string, datatype string, shape int64*, parameters {InferParameter}, contents InferTensorContents"
_REPOSITORY: Final = "model_or_repository string, model_name string, parameters {ModelRepositoryParameter}"

_MESSAGES: Final = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready bool",
    "ModelReadyRequest": "name string, version string",
    "ModelReadyResponse": "ready bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name string, version string, extensions string*",
    "ModelMetadataRequest": "name string, version string",
    "ModelMetadataResponse": (
        "name string, versions string*, platform string, "
        "inputs ModelMetadataResponse.TensorMetadata*, outputs ModelMetadataResponse.TensorMetadata*"
    ),
    "ModelMetadataResponse.TensorMetadata": "name string, datatype string, shape int64*",
    "InferParameter": "bool_param |bool, int64_param |int64, string_param |string, double_param |double, "
    "uint64_param |uint64",
    "InferTensorContents": (
        "bool_contents bool*, int_contents int32*, int64_contents int64*, uint_contents uint32*, "
        "uint64_contents uint64*, fp32_contents float*, fp64_contents double*, bytes_contents bytes*"
    ),
    "ModelInferRequest": (
        "model_name string, model_version string, id string, parameters {InferParameter}, "
        "inputs ModelInferRequest.InferInputTensor*, outputs ModelInferRequest.InferRequestedOutputTensor*, "
        "raw_input_contents bytes*"
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "name string, parameters {InferParameter}",
    "ModelInferResponse": (
        "model_name string, model_version string, id string, parameters {InferParameter}, "
        "outputs ModelInferResponse.InferOutputTensor*, raw_output_contents bytes*"
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelRepositoryParameter": "bool_param |bool, int64_param |int64, string_param |string, bytes_param |bytes",
    "RepositoryIndexRequest": "repository_name string, ready bool",
    "RepositoryIndexResponse": "models RepositoryIndexResponse.ModelIndex*",
    "RepositoryIndexResponse.ModelIndex": "name string, version string, state string, reason string",
    "RepositoryModelLoadRequest": _REPOSITORY,
    "RepositoryModelLoadResponse": "model_name string, isLoaded bool",
    "RepositoryModelUnloadRequest": _REPOSITORY,
    "RepositoryModelUnloadResponse": "model_name string, isUnloaded bool",
}
"""Fields in the order of their numbers, from 1. `*` is repeated, `{T}` a map from text to T, `|` one of a choice."""

METHODS: Final = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)

_SCALARS: Final = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}


def _add_field(message: DescriptorProto, full_name: str, number: int, text: str) -> None:
    name, _, kind = text.strip().partition(" ")
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.endswith("*"):
        kind, field.label = kind[:-1], FieldDescriptorProto.LABEL_REPEATED
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        kind, field.oneof_index = kind[1:], 0
    if kind.startswith("{"):
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add_field(entry, f"{full_name}.{entry.name}", 1, "key string")
        _add_field(entry, f"{full_name}.{entry.name}", 2, f"value {kind[1:-1]}")
        kind, field.label = f"{full_name}.{entry.name}", FieldDescriptorProto.LABEL_REPEATED
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="open_inference_grpc.proto", package=_PACKAGE, syntax="proto3")
    messages: dict[str, DescriptorProto] = {}
    for full_name, fields in _MESSAGES.items():
        parent, _, name = full_name.rpartition(".")
        messages[full_name] = message = (
            messages[parent].nested_type.add(name=name) if parent else file.message_type.add(name=name)
        )
        for number, text in enumerate(filter(None, fields.split(",")), 1):
            _add_field(message, full_name, number, text)
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    for name in METHODS:
        method = service.method.add(name=name)
        method.input_type, method.output_type = f".{_PACKAGE}.{name}Request", f".{_PACKAGE}.{name}Response"
    return file


FILE: Final = _file()
"""The whole file, for reflection."""
_POOL: Final = DescriptorPool()
_POOL.AddSerializedFile(FILE.SerializeToString())


def message_class(name: str, /) -> Any:
    """The class of a message, such as `ModelInferRequest`."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def model_of(request: Any, /) -> str:
    """The model that a request to load or unload means: Triton's field if it is there, else KServe's."""
    name: str = request.model_name or request.model_or_repository
    return name
