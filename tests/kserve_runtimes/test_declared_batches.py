"""Networks of equal shape in one batch: every row meets its own bot, and fails alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from botshard.bots.architectures import architecture_from_document
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId
from kserve_runtimes.core.model import Model
from kserve_runtimes.declared.activations import erf
from kserve_runtimes.declared.models import DeclaredModels

_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "linear": {"name": "linear", "inputs": 4, "outputs": 3},
    "no-bias": {"name": "linear", "inputs": 4, "outputs": 3, "bias": False},
    "relu": {"name": "mlp", "layers": [4, 6, 3], "activation": "relu"},
    "tanh": {"name": "mlp", "layers": [4, 5, 5, 3], "activation": "tanh"},
    "gelu": {"name": "mlp", "layers": [4, 6, 3], "activation": "gelu"},
    "bag": {"name": "embedding-bag", "vocabulary": 9, "dim": 4, "layers": [6, 3]},
}
_BOTS = 4
_mixes = st.lists(
    st.tuples(st.integers(0, _BOTS - 1), st.integers(1, 5), st.integers(0, 1 << 30)), min_size=1, max_size=24
)


def _load(models: DeclaredModels, kind: str, seed: int, folder: Path) -> Model:
    rng = np.random.default_rng(seed)
    architecture = architecture_from_document(_ARCHITECTURES[kind])
    path = folder / f"{kind}-{seed}.safetensors"
    save_file({tensor.name: rng.normal(0, 1, tensor.shape).astype(np.float32) for tensor in architecture.tensors}, path)
    inputs = (TensorSpec("x", architecture.input_datatype, architecture.input_shape),)
    outputs = (TensorSpec("y", "FP32", (-1, 3)),)
    model = {"format": "safetensors", "file": path.name, "architecture": _ARCHITECTURES[kind]}
    names = BotId(f"b{seed}"), TenantId("acme"), GroupName("realtime"), Framework("torch")
    return models.load(BotSpec(*names, inputs, outputs, model), folder, inputs)


@cache
def _bots() -> dict[str, list[Model]]:
    models = DeclaredModels()
    with TemporaryDirectory() as folder:
        # The files may go: what is mapped stays.
        return {kind: [_load(models, kind, seed, Path(folder)) for seed in range(_BOTS)] for kind in _ARCHITECTURES}


def _rows(kind: str, count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 9, (count, seed % 4)) if kind == "bag" else rng.normal(0, 2, (count, 4)).astype(np.float32)


def _together(
    models: Sequence[Model], inputs: Sequence[Mapping[str, Array]]
) -> Sequence[Mapping[str, Array] | Exception]:
    (together,) = {model.together for model in models}
    assert together is not None
    return together.predict(models, inputs)


@pytest.mark.parametrize("kind", _ARCHITECTURES)
@given(mix=_mixes)
@settings(deadline=None, max_examples=60)
def test_a_batch_gives_what_each_bot_gives_alone(kind: str, mix: list[tuple[int, int, int]]) -> None:
    """Any bots, any number of rows of each, in any order, within 1e-5."""
    bots = _bots()[kind]
    models = [bots[index] for index, _, _ in mix]
    inputs = [{"x": _rows(kind, count, seed)} for _, count, seed in mix]
    for model, given_, result in zip(models, inputs, _together(models, inputs), strict=True):
        assert not isinstance(result, Exception)
        np.testing.assert_allclose(result["output"], model.predict(given_)["output"], rtol=1e-5, atol=1e-5)


@given(mix=_mixes, wrong=st.sets(st.integers(0, 23)))
@settings(deadline=None, max_examples=60)
def test_a_wrong_row_fails_alone(mix: list[tuple[int, int, int]], wrong: set[int]) -> None:
    """A token outside of the vocabulary is one request's mistake; its neighbours have their answers."""
    bots = _bots()["bag"]
    models = [bots[index] for index, _, _ in mix]
    inputs = [{"x": _rows("bag", count, seed)} for _, count, seed in mix]
    for place in wrong & set(range(len(mix))):
        inputs[place] = {"x": np.array([[1, 9]])}
    for place, result in enumerate(_together(models, inputs)):
        if place in wrong:
            assert isinstance(result, InvalidInputError)
        else:
            assert not isinstance(result, Exception)
            alone = models[place].predict(inputs[place])["output"]
            np.testing.assert_allclose(result["output"], alone, rtol=1e-5, atol=1e-5)


def test_only_networks_of_one_shape_may_be_together() -> None:
    """Activation, sizes and biases all count; how the first layer's input came about does not."""
    groups = {kind: {model.together for model in bots} for kind, bots in _bots().items()}
    assert all(len(group) == 1 for group in groups.values())
    assert groups["bag"] == groups["relu"]
    assert len(set().union(*groups.values())) == len(groups) - 1


def test_the_error_function_is_that_of_the_library() -> None:
    """Within float32's own grain, from where it is straight to where it is flat."""
    x = np.concatenate([np.linspace(-6, 6, 20_001), [0.0, -0.0, 1e-30, 1e30, -1e30]]).astype(np.float32)
    expected = np.array([math.erf(value) for value in x.tolist()])
    assert np.abs(erf(x) - expected).max() < 4e-7


@pytest.mark.parametrize("offset", range(4))
def test_weights_need_not_be_aligned(tmp_path: Path, offset: int) -> None:
    """A writer may put numbers anywhere."""
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_file({"weight": weights}, tmp_path / "m.safetensors", metadata={"pad": "x" * offset})
    inputs, outputs = (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 3)),)
    architecture = {"name": "linear", "inputs": 4, "outputs": 3, "bias": False}
    model = {"format": "safetensors", "file": "m.safetensors", "architecture": architecture}
    names = BotId("b"), TenantId("acme"), GroupName("realtime"), Framework("torch")
    loaded = DeclaredModels().load(BotSpec(*names, inputs, outputs, model), tmp_path, inputs)
    assert loaded.footprint_bytes == weights.nbytes
    rows = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(loaded.predict({"x": rows})["output"], rows @ weights.T)
