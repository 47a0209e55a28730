"""The shape of `bot.yaml`, field by field, as pydantic sees it; `botshard.bots.spec_document` makes a `BotSpec` of it.

Each field's description is the end of "must be …": it stands in the JSON schema that editors read and in the error
that a wrong value gets, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from botshard.bots.formats import (
    FORMATS,
    FRAMEWORK_FORMATS,
    MOST_DIMENSIONS,
    MOST_FILE_CHARS,
    MOST_MEMORY_BYTES,
    MOST_RATE_PER_S,
    MOST_STEPS,
    MOST_TENSORS,
    TENSOR_NAME,
    is_path,
    is_shape,
)
from botshard.oip.tensors import DATATYPES
from botshard.sharding.catalog import TensorSpec
from botshard.sharding.errors import Problem
from botshard.sharding.ids import check_bot_id, check_group_name, check_label, check_tenant_id
from botshard.sharding.units import parse_bytes

__all__ = [
    "PAYLOADS",
    "BotDocument",
    "ModelDocument",
    "ResourcesDocument",
    "RolloutDocument",
    "TensorDocument",
]

PAYLOADS = ("v1", "v2")
"""What a `kserve.Model` may be given, whatever the client sent: the dictionary of V1, or V2's request object."""


class _Section(BaseModel):
    """A mapping in the file: every key is known, no value is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _checked(check: Callable[[object], Problem | None]) -> AfterValidator:
    def validate(value: str) -> str:
        problem = check(value)
        if problem is not None:
            raise ValueError(problem.expected)
        return value

    return AfterValidator(validate)


def _expected(check: Callable[[object], Problem | None]) -> str:
    problem = check(None)
    return problem.expected if problem is not None else ""


def _one_of(options: Collection[str]) -> tuple[AfterValidator, FieldInfo]:
    """Annotations of a field that is one of `options`; the schema and the error name them."""

    def validate(value: str) -> str:
        if value not in options:
            raise ValueError(f"one of {', '.join(options)}")
        return value

    field: FieldInfo = Field(json_schema_extra={"enum": list(options)})
    return AfterValidator(validate), field


def _check_label(value: object) -> Problem | None:
    return check_label(value, "label")


def _check_shape(value: list[int]) -> list[int]:
    if not is_shape(value):
        raise ValueError("shape")
    return value


def _check_path(value: str) -> str:
    if not is_path(value):
        raise ValueError("path")
    return value


def _check_memory(value: int | str) -> int | str:
    if not 1 <= parse_bytes(value) <= MOST_MEMORY_BYTES:
        raise ValueError("memory")
    return value


def _check_class(value: str) -> str:
    module, _, name = value.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not name.isidentifier():
        raise ValueError("class")
    return value


class TensorDocument(_Section):
    """One input or output as clients see it."""

    name: str = Field(
        pattern=TENSOR_NAME,
        description="1 to 128 letters, digits, '_', '.', ':', '/' or '-', a letter or '_' first",
    )
    datatype: Annotated[str, *_one_of(DATATYPES)] = Field(description="a data type of the Open Inference Protocol")
    shape: Annotated[list[int], AfterValidator(_check_shape)] = Field(
        min_length=1,
        max_length=MOST_DIMENSIONS,
        description=f"a list of 1 to {MOST_DIMENSIONS} whole numbers: -1 (the batch), then sizes, -1 where free",
    )

    def to_spec(self) -> TensorSpec:
        """The tensor as the rest of the system knows it."""
        return TensorSpec(self.name, self.datatype, tuple(self.shape))


class ModelDocument(_Section):
    """How files become a model."""

    format: Annotated[str, *_one_of(FORMATS)] = Field(description="a model format")
    file: Annotated[str, AfterValidator(_check_path)] = Field(
        min_length=1,
        max_length=MOST_FILE_CHARS,
        description="a path inside the bot's folder, without '..', hidden parts or a leading '/'",
    )
    architecture: dict[str, object] | None = Field(
        default=None,
        description="an architecture, as in {name: mlp, layers: [2048, 64, 7], activation: relu}",
    )
    class_name: Annotated[str, AfterValidator(_check_class)] | None = Field(
        alias="class",
        default=None,
        max_length=255,
        description="a class of the replicas' image, as in my_package.models:Sentiment",
    )
    payload: Annotated[str, *_one_of(PAYLOADS)] | None = Field(
        default=None, description="what the class gets: v2, an InferRequest; v1, a dictionary with instances"
    )

    def to_document(self) -> dict[str, object]:
        """What stands in the file, under its own keys."""
        return self.model_dump(by_alias=True, exclude_none=True)


class RolloutDocument(_Section):
    """Which version is served."""

    version: Annotated[int, Field(ge=1)] | Literal["latest"] = Field(
        default="latest", description="latest, or the number of a version from 1"
    )


class ResourcesDocument(_Section):
    """What the author expects, used until the bot has been measured."""

    memory: Annotated[int | str, AfterValidator(_check_memory)] | None = Field(
        default=None, description="a number of bytes such as 512Mi, 2Gi or 1048576 (units k, M, G, T, Ki, Mi, Gi, Ti)"
    )
    rate_per_second: float | None = Field(
        default=None,
        alias="ratePerSecond",
        gt=0,
        le=MOST_RATE_PER_S,
        description="a number of requests a second above 0",
    )


class BotDocument(_Section):
    """A bot: one customer's model with its processing."""

    id: Annotated[str, _checked(check_bot_id)] = Field(description=_expected(check_bot_id))
    tenant: Annotated[str, _checked(check_tenant_id)] = Field(description=_expected(check_tenant_id))
    pool_group: Annotated[str, _checked(check_group_name)] = Field(
        alias="poolGroup", description=_expected(check_group_name)
    )
    framework: Annotated[str, *_one_of(FRAMEWORK_FORMATS)] = Field(description="what runs the model")
    backbone: Annotated[str, _checked(_check_label)] | None = Field(default=None, description=_expected(_check_label))
    pin: Annotated[str, _checked(_check_label)] | None = Field(default=None, description=_expected(_check_label))
    model: ModelDocument = Field(description="a mapping with format, file and, for safetensors, architecture")
    inputs: list[TensorDocument] = Field(
        min_length=1,
        max_length=MOST_TENSORS,
        description="a list of tensors, at least one, each as in {name: text, datatype: BYTES, shape: [-1, 1]}",
    )
    outputs: list[TensorDocument] = Field(
        min_length=1,
        max_length=MOST_TENSORS,
        description="a list of tensors, at least one, each as in {name: label, datatype: BYTES, shape: [-1, 1]}",
    )
    preprocess: list[dict[str, object]] = Field(
        default=[], max_length=MOST_STEPS, description="a list of steps before the model, as in [{step: normalize}]"
    )
    postprocess: list[dict[str, object]] = Field(
        default=[], max_length=MOST_STEPS, description="a list of steps after the model, as in [{step: softmax}]"
    )
    sample: Annotated[str, AfterValidator(_check_path)] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_FILE_CHARS,
        description="a path, inside the bot's folder and without '..', hidden parts or a leading '/', of a JSON file"
        " with an infer request",
    )
    rollout: RolloutDocument = Field(default=RolloutDocument(), description="a mapping, as in {version: latest}")
    resources: ResourcesDocument = Field(
        default=ResourcesDocument(), description="a mapping, as in {memory: 2Mi, ratePerSecond: 5}"
    )
