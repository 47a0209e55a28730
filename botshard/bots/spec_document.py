"""Between documents and `BotSpec`: the same shape in `bot.yaml` and in an artifact's manifest.

A manifest holds everything but the rollout, which is the catalog's: rolling back must not make a new version. What is
in a manifest is read back through the very checks that `bot.yaml` went through, so a replica never half-reads one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from botshard.bots.architectures import Architecture, read_architecture
from botshard.bots.bot_document import BotDocument, ModelDocument, TensorDocument
from botshard.bots.formats import FRAMEWORK_FORMATS, SUFFIXES
from botshard.bots.hints import known_names
from botshard.bots.pydantic_problems import validation_problems
from botshard.sharding.catalog import BotSpec, ResourceHints, Rollout, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId, VersionNumber
from botshard.sharding.units import parse_bytes

__all__ = ["Reading", "bot_schema", "read_document", "spec_from_document", "spec_to_document"]

# Stand in for what is wrong, so that the rest of the file can still be checked.
_BLANK: Mapping[str, object] = {
    "id": "x",
    "tenant": "x",
    "poolGroup": "x",
    "framework": "torch",
    "model": {"format": "safetensors", "file": "x.safetensors"},
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    "outputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
}


def spec_from_document(document: object, /, name: str = "spec") -> BotSpec:
    """The spec in a decoded document (a manifest's `spec`); `name` is its name in errors.

    Raises: InvalidDocumentError with every problem.
    """
    reading = read_document(document)
    if reading.spec is None:
        raise InvalidDocumentError(name, reading.problems)
    return reading.spec


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read of a document, and everything that is wrong with it."""

    problems: tuple[Problem, ...]
    document: BotDocument | None = None
    """Wrong sections are replaced by blanks, so that the sound ones can still be checked; None: not even a mapping."""
    wrong: frozenset[str] = frozenset()
    """Keys of the wrong sections."""
    spec: BotSpec | None = None
    """None where there is a problem."""
    architecture: Architecture | None = None
    """What a safetensors file must hold; None where that is not known."""

    def are_sound(self, *keys: str) -> bool:
        """Can these sections be checked further?"""
        return self.document is not None and not self.wrong.intersection(keys)


def read_document(document: object, /) -> Reading:
    """Read a decoded `bot.yaml` or a manifest's spec as far as it goes. The steps are left to `botshard.processing`."""
    if not isinstance(document, Mapping):
        expected = "a mapping with id, tenant, poolGroup, framework, model, inputs, outputs"
        return Reading((Problem.of("", document, expected),))
    checked, bad, problems = _validate(document)
    architecture: Architecture | None = None
    if "model" not in bad:
        architecture, found = _check_model(checked.model, None if "framework" in bad else checked.framework)
        problems += found
        if not bad & {"framework", "backbone"} and checked.backbone is not None:
            problems += _check_head(checked, architecture)
    for section, tensors in (("inputs", checked.inputs), ("outputs", checked.outputs)):
        problems += _check_names(section, tensors) if section not in bad else []
    if architecture is not None and not bad & {"outputs", "postprocess"} and not checked.postprocess:
        problems += _check_direct_output(checked, architecture)
    spec = None if problems else _to_spec(checked, architecture)
    return Reading(tuple(problems), checked, frozenset(bad), spec, architecture)


def spec_to_document(spec: BotSpec, /) -> dict[str, object]:
    """The spec as a manifest holds it: every key of `bot.yaml` that says something, without the rollout."""
    optional: dict[str, object] = {
        "backbone": spec.backbone,
        "pin": spec.pin,
        "preprocess": [dict(step) for step in spec.preprocess] or None,
        "postprocess": [dict(step) for step in spec.postprocess] or None,
        "sample": spec.sample,
        "resources": _without_none(
            {"memory": spec.resources.memory_bytes, "ratePerSecond": spec.resources.rate_per_s},
        )
        or None,
    }
    return {
        "id": spec.id,
        "tenant": spec.tenant,
        "poolGroup": spec.group,
        "framework": spec.framework,
        "model": dict(spec.model),
        "inputs": [_tensor_document(tensor) for tensor in spec.inputs],
        "outputs": [_tensor_document(tensor) for tensor in spec.outputs],
        **_without_none(optional),
    }


def bot_schema() -> dict[str, object]:
    """The JSON schema of `bot.yaml`, for editors: `docs/bot.schema.json` is this, and a test compares them."""
    schema = BotDocument.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "bot.yaml"}


def _validate(document: Mapping[str, object]) -> tuple[BotDocument, set[str], list[Problem]]:
    """The document, the top-level keys that are wrong and replaced by blanks, and the problems."""
    try:
        return BotDocument.model_validate(document), set(), []
    except ValidationError as error:
        problems = validation_problems(BotDocument, error)
        bad = {str(entry["loc"][0]) for entry in error.errors(include_url=False, include_input=False) if entry["loc"]}
    sound = {key: value for key, value in document.items() if key not in bad}
    blanks = {key: value for key, value in _BLANK.items() if key in bad}
    return BotDocument.model_validate({**sound, **blanks}), bad, problems


def _check_model(model: ModelDocument, framework: str | None) -> tuple[Architecture | None, list[Problem]]:
    problems: list[Problem] = []
    if framework is not None and model.format not in FRAMEWORK_FORMATS[framework]:
        expected = known_names(model.format, FRAMEWORK_FORMATS[framework])
        problems.append(Problem.of("model.format", model.format, f"{expected} with framework {framework}"))
    suffix = SUFFIXES.get(model.format)
    if suffix is not None and not model.file.endswith(suffix):
        problems.append(Problem.of("model.file", model.file, f"a {suffix} file with format {model.format}"))
    problems += _check_class(model)
    if model.format != "safetensors":
        if model.architecture is not None:
            expected = f"left out with format {model.format}, whose file holds its own network"
            problems.append(Problem.of("model.architecture", model.architecture, expected))
        return None, problems
    architecture, found = read_architecture(model.architecture, "model.architecture")
    return architecture, problems + found


def _check_head(document: BotDocument, architecture: Architecture | None) -> list[Problem]:
    """A bot on a backbone is a head: a declared network over the numbers that the backbone makes of a text."""
    if document.model.format != "safetensors":
        expected = "left out with this format: bots on a backbone are declared networks (safetensors)"
        return [Problem.of("backbone", document.backbone, expected)]
    if architecture is not None and architecture.input_datatype != "FP32":
        expected = "linear or mlp, which take the numbers that a backbone makes of a text"
        return [Problem.of("model.architecture.name", architecture.kind, expected)]
    return []


def _check_class(model: ModelDocument) -> list[Problem]:
    """A class belongs to format kserve, and to no other."""
    if model.format == "kserve":
        expected = "a class of the replicas' image with format kserve, as in my_package.models:Sentiment"
        return [] if model.class_name is not None else [Problem.of("model.class", None, expected)]
    found = {"class": model.class_name, "payload": model.payload}
    expected = f"left out with format {model.format}, whose file is the whole model"
    return [Problem.of(f"model.{key}", value, expected) for key, value in found.items() if value is not None]


def _check_names(section: str, tensors: list[TensorDocument]) -> list[Problem]:
    names = [tensor.name for tensor in tensors]
    return [
        Problem.of(f"{section}[{index}].name", name, "a name that no other tensor of the list has")
        for index, name in enumerate(names)
        if name in names[:index]
    ]


def _check_direct_output(document: BotDocument, architecture: Architecture) -> list[Problem]:
    """Without steps after it, the network's own output is what clients see."""
    shape, reason = [-1, architecture.output_count], f"what {architecture.kind} gives without postprocess steps"
    if len(document.outputs) != 1:
        return [Problem("outputs", f"{len(document.outputs)} tensors", f"one tensor, {reason}")]
    output, problems = document.outputs[0], []
    if output.datatype != "FP32":
        problems.append(Problem.of("outputs[0].datatype", output.datatype, f"FP32, {reason}"))
    if output.shape != shape:
        problems.append(Problem.of("outputs[0].shape", output.shape, f"{shape}, {reason}"))
    return problems


def _to_spec(document: BotDocument, architecture: Architecture | None) -> BotSpec:
    model = document.model.to_document()
    if architecture is not None:
        model["architecture"] = architecture.to_document()
    memory, version = document.resources.memory, document.rollout.version
    return BotSpec(
        id=BotId(document.id),
        tenant=TenantId(document.tenant),
        group=GroupName(document.pool_group),
        framework=Framework(document.framework),
        inputs=tuple(tensor.to_spec() for tensor in document.inputs),
        outputs=tuple(tensor.to_spec() for tensor in document.outputs),
        model=model,
        preprocess=tuple(document.preprocess),
        postprocess=tuple(document.postprocess),
        backbone=document.backbone,
        pin=document.pin,
        rollout=Rollout(None if version == "latest" else VersionNumber(version)),
        resources=ResourceHints(None if memory is None else parse_bytes(memory), document.resources.rate_per_second),
        sample=document.sample,
    )


def _tensor_document(tensor: TensorSpec) -> dict[str, object]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _without_none(pairs: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in pairs.items() if value is not None}
