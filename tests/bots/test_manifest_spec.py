"""Specs as replicas read them: the quick way takes what publishing writes, and nothing that is wrong."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from botshard.bots.manifest_spec import plain_spec, spec_of_manifest
from botshard.bots.spec_document import read_document, spec_from_document, spec_to_document
from botshard.sharding.errors import InvalidDocumentError

_TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
_OUTPUT = {"name": "y", "datatype": "FP32", "shape": [-1, 2]}
_LINEAR = {"name": "linear", "inputs": 4, "outputs": 2, "bias": False}
SPECS: dict[str, dict[str, Any]] = {
    "linear": {
        "id": "acme-1",
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "torch",
        "model": {"format": "safetensors", "file": "model.safetensors", "architecture": _LINEAR},
        "inputs": [_TENSOR],
        "outputs": [_OUTPUT],
        "resources": {"memory": 1 << 20, "ratePerSecond": 2.5},
        "pin": "vip",
        "sample": "sample.json",
    },
    "text": {
        "id": "b",
        "tenant": "t",
        "poolGroup": "g",
        "framework": "torch",
        "model": {
            "format": "safetensors",
            "file": "sub/model.safetensors",
            "architecture": {"name": "mlp", "layers": [8, 4, 2], "activation": "gelu"},
        },
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1, 1]}],
        "preprocess": [{"step": "hash-ngrams", "features": 8, "words": [1, 1]}],
        "postprocess": [{"step": "softmax"}, {"step": "label", "labels": ["a", "b"]}],
    },
    "program": {
        "id": "b",
        "tenant": "t",
        "poolGroup": "g",
        "framework": "torch",
        "model": {"format": "torch-export", "file": "model.pt2"},
        "inputs": [_TENSOR],
        "outputs": [_OUTPUT, {"name": "z", "datatype": "INT64", "shape": [-1]}],
    },
    "keras": {
        "id": "b",
        "tenant": "t",
        "poolGroup": "g",
        "framework": "tensorflow",
        "model": {"format": "keras", "file": "model.keras"},
        "inputs": [_TENSOR],
        "outputs": [_OUTPUT],
    },
    "saved": {
        "id": "b",
        "tenant": "t",
        "poolGroup": "g",
        "framework": "tensorflow",
        "model": {"format": "savedmodel", "file": "model"},
        "inputs": [_TENSOR],
        "outputs": [_OUTPUT],
    },
}


@pytest.mark.parametrize("name", SPECS)
def test_what_publishing_writes_is_read_the_quick_way(name: str) -> None:
    """Every kind of model, and to the same spec."""
    written = spec_to_document(spec_from_document(SPECS[name]))
    assert plain_spec(written) == spec_from_document(written) == spec_of_manifest(written, "m")


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([1 << 51, 1 << 24, 10**400, 0.0, 2.5, float("nan"), float("inf"), -1.0]),
    st.sampled_from(["", ".", "..", "x", "a/b", "../x", "A b", "\ud800", "é", "1", "latest", "512Mi", "FP32", "BYTES"]),
    st.sampled_from(["torch", "tensorflow", "safetensors", "keras", "model.keras", "x.safetensors", "mlp", "linear"]),
    st.lists(st.integers(-2, 5), max_size=9),
    st.just([_TENSOR]),
    st.just([_TENSOR, _TENSOR]),
    st.just([_OUTPUT]),
    st.just({}),
    st.just(_LINEAR),
    st.just([{"step": "softmax"}]),
    st.just([{}] * 51),
    st.just({"memory": "1Mi"}),
)
_KEYS = [
    "id",
    "rollout",
    "backbone",
    "pin",
    "preprocess",
    "postprocess",
    "resources",
    "name",
    "architecture",
    "sample",
    "x",
    1,
]


def _places(node: object) -> list[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    found = [(node, key) for key, _ in items]
    for _, value in items:
        found += _places(value)
    return found


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_what_the_quick_way_takes_the_thorough_way_reads_alike(data: st.DataObject) -> None:
    """Specs with up to three changes anywhere: left out, replaced, or added to."""
    document = copy.deepcopy(SPECS[data.draw(st.sampled_from(sorted(SPECS)))])
    for _ in range(data.draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        container, key = data.draw(st.sampled_from(places))
        match data.draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                container[key] = copy.deepcopy(data.draw(_VALUES))
            case "remove":
                del container[key]
            case _ if isinstance(container, dict):
                container[data.draw(st.sampled_from(_KEYS))] = copy.deepcopy(data.draw(_VALUES))
            case _:
                container.append(copy.deepcopy(data.draw(_VALUES)))
    quick = plain_spec(document)
    if quick is not None:
        assert quick == read_document(document).spec


def test_what_the_quick_way_leaves_is_read_or_refused_thoroughly() -> None:
    """A backbone, an author's size with a unit, or a mistake."""
    sound = {**SPECS["linear"], "backbone": "minilm", "resources": {"memory": "1Mi"}}
    assert plain_spec(sound) is None
    assert spec_of_manifest(sound, "m").backbone == "minilm"
    with pytest.raises(InvalidDocumentError, match="bot b version 1: framework: must be one of"):
        spec_of_manifest({**SPECS["linear"], "framework": "jax"}, "bot b version 1")


def test_the_quick_way_needs_no_library() -> None:
    """Reading a manifest's spec leaves pydantic out."""
    program = (
        "import sys; from botshard.bots.manifest_spec import spec_of_manifest;"
        f" spec_of_manifest({SPECS['text']!r}, 'm'); print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
