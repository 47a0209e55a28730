"""A manifest's spec as a replica reads it before its first answer: what publishing wrote, in plain comparisons.

`spec_document` reads anything, says what is wrong with it, and takes a library of 50 ms and 10 MiB for that. Here a
spec is either as publishing writes them, or it is left to that. Both must agree on every spec that is taken here, which
`tests/bots/test_manifest_spec.py` holds them to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from botshard.bots.architectures import Architecture, read_architecture
from botshard.bots.formats import (
    FRAMEWORK_FORMATS,
    MOST_DIMENSIONS,
    MOST_FILE_CHARS,
    MOST_MEMORY_BYTES,
    MOST_RATE_PER_S,
    MOST_STEPS,
    MOST_TENSORS,
    SUFFIXES,
    TENSOR_NAME,
    is_path,
    is_shape,
)
from botshard.oip.tensors import DATATYPES
from botshard.sharding.catalog import BotSpec, ResourceHints, TensorSpec
from botshard.sharding.ids import (
    BotId,
    Framework,
    GroupName,
    TenantId,
    check_bot_id,
    check_group_name,
    check_label,
    check_tenant_id,
)

__all__ = ["plain_spec", "spec_of_manifest"]

_NEEDED: Final = frozenset({"id", "tenant", "poolGroup", "framework", "model", "inputs", "outputs"})
_KNOWN: Final = _NEEDED | {"pin", "preprocess", "postprocess", "resources", "sample"}
_NAME: Final = re.compile(TENSOR_NAME[:-1] + r"\Z")


def spec_of_manifest(document: object, /, name: str) -> BotSpec:
    """The spec in a manifest; `name` is its name in errors.

    Raises: InvalidDocumentError with every problem.
    """
    spec = plain_spec(document)
    if spec is not None:
        return spec
    from botshard.bots.spec_document import spec_from_document

    return spec_from_document(document, name)


def plain_spec(document: object, /) -> BotSpec | None:
    """The spec, if it is one as publishing writes them, of a bot without a backbone; None: read it thoroughly."""
    if not isinstance(document, dict) or not _NEEDED <= document.keys() <= _KNOWN:
        return None
    framework, pin = document["framework"], document.get("pin")
    architecture, model = _model(document["model"], framework)
    inputs, outputs = _tensors(document["inputs"]), _tensors(document["outputs"])
    before, after = _steps(document.get("preprocess", [])), _steps(document.get("postprocess", []))
    resources = _resources(document.get("resources", {}))
    if (
        check_bot_id(document["id"]) is not None
        or check_tenant_id(document["tenant"]) is not None
        or check_group_name(document["poolGroup"]) is not None
        or ("pin" in document and check_label(pin, "pin") is not None)
        or ("sample" in document and not _is_file(document["sample"]))
    ):
        return None
    if model is None or inputs is None or outputs is None or before is None or after is None or resources is None:
        return None
    if architecture is not None and not after and not _are_its(outputs, architecture):
        return None
    return BotSpec(
        id=BotId(document["id"]),
        tenant=TenantId(document["tenant"]),
        group=GroupName(document["poolGroup"]),
        framework=Framework(framework),
        inputs=inputs,
        outputs=outputs,
        model=model,
        preprocess=before,
        postprocess=after,
        pin=pin,
        sample=document.get("sample"),
        resources=resources,
    )


def _model(  # noqa: PLR0911 - one return a rule
    section: object, framework: object
) -> tuple[Architecture | None, dict[str, object] | None]:
    """What the file must hold, where that is declared, and the section; None: not as publishing writes it."""
    if not isinstance(section, dict) or not {"format", "file"} <= section.keys() <= {"format", "file", "architecture"}:
        return None, None
    form, file, declared = section["format"], section["file"], section.get("architecture")
    if not isinstance(framework, str) or form not in FRAMEWORK_FORMATS.get(framework, ()):
        return None, None
    if not isinstance(file, str) or not _is_file(file):
        return None, None
    if not file.endswith(SUFFIXES.get(form, "")) or ("architecture" in section) != (form == "safetensors"):
        return None, None
    if form == "kserve":
        return None, None
    if form != "safetensors":
        return None, {"format": form, "file": file}
    if not isinstance(declared, dict):
        return None, None
    architecture, problems = read_architecture(declared, "model.architecture")
    if problems or architecture is None:
        return None, None
    return architecture, {"format": form, "file": file, "architecture": architecture.to_document()}


def _is_file(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MOST_FILE_CHARS and is_path(value)


def _tensors(section: object) -> tuple[TensorSpec, ...] | None:  # noqa: PLR0911 - one return a rule
    if not isinstance(section, list) or not 1 <= len(section) <= MOST_TENSORS:
        return None
    found = []
    for each in section:
        if not isinstance(each, dict) or each.keys() != {"name", "datatype", "shape"}:
            return None
        name, datatype, shape = each["name"], each["datatype"], each["shape"]
        if not isinstance(name, str) or not _NAME.match(name):
            return None
        if not isinstance(datatype, str) or datatype not in DATATYPES or not isinstance(shape, list):
            return None
        if not 1 <= len(shape) <= MOST_DIMENSIONS or any(type(size) is not int for size in shape):
            return None
        if not is_shape(shape):
            return None
        found.append(TensorSpec(name, datatype, tuple(shape)))
    return tuple(found) if len({tensor.name for tensor in found}) == len(found) else None


def _steps(section: object) -> tuple[Mapping[str, object], ...] | None:
    if not isinstance(section, list) or len(section) > MOST_STEPS:
        return None
    if not all(isinstance(step, dict) and all(isinstance(key, str) for key in step) for step in section):
        return None
    return tuple(section)


def _resources(section: Any) -> ResourceHints | None:
    if not isinstance(section, dict) or not section.keys() <= {"memory", "ratePerSecond"}:
        return None
    memory, rate = section.get("memory"), section.get("ratePerSecond")
    if memory is not None and (type(memory) is not int or not 1 <= memory <= MOST_MEMORY_BYTES):
        return None
    if rate is not None and (type(rate) not in (int, float) or not 0 < rate <= MOST_RATE_PER_S):
        return None
    return ResourceHints(memory, None if rate is None else float(rate))


def _are_its(outputs: tuple[TensorSpec, ...], architecture: Architecture) -> bool:
    """Without steps after it, the network's own output is what clients see."""
    if len(outputs) != 1:
        return False
    return outputs[0].datatype == "FP32" and outputs[0].shape == (-1, architecture.output_count)
