"""What a server says about itself and its models, as documents without nulls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from botshard.sharding.catalog import TensorSpec

__all__ = ["EXTENSIONS", "IndexEntry", "model_metadata", "repository_index", "server_metadata"]

EXTENSIONS: Final = ("binary_tensor_data", "model_repository_extension")
"""What our servers offer beyond the protocol's core, in the words of its clients."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One model in the answer of `POST /v2/repository/index`."""

    name: str
    version: str
    state: str
    """`READY`, `UNAVAILABLE`, `LOADING` or `UNLOADING`."""
    reason: str = ""
    """Why it is not ready; empty: nothing to say."""


def server_metadata(*, name: str, version: str, extensions: Sequence[str] = EXTENSIONS) -> dict[str, object]:
    """The answer of `GET /v2`."""
    return {"name": name, "version": version, "extensions": list(extensions)}


def model_metadata(
    *,
    name: str,
    platform: str,
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    versions: Iterable[str] = (),
) -> dict[str, object]:
    """The answer of `GET /v2/models/{name}`; without `versions` the field is left out."""
    document: dict[str, object] = {"name": name}
    numbers = list(versions)
    if numbers:
        document["versions"] = numbers
    document["platform"] = platform
    document["inputs"] = [_tensor(spec) for spec in inputs]
    document["outputs"] = [_tensor(spec) for spec in outputs]
    return document


def repository_index(entries: Iterable[IndexEntry], *, ready_only: bool = False) -> list[dict[str, str]]:
    """The answer of `POST /v2/repository/index` (the model repository extension)."""
    return [
        {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
        for entry in entries
        if not ready_only or entry.state == "READY"
    ]


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
