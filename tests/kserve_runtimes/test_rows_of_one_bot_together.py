"""Requests to one ONNX bot in one batch: the same answers as one by one, and only where rows are independent."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from botshard.bots.spec_document import spec_from_document
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec
from kserve_runtimes.core.model import Model
from kserve_runtimes.onnx.framework import OnnxFramework

FOUR, EIGHT = ("x", 4), ("X", 8)
INDEPENDENT = {
    "logistic": EIGHT,
    "boosted": EIGHT,
    "histograms": EIGHT,
    "forest": EIGHT,
    "regression": EIGHT,
    "linear": FOUR,
    "deep-network": FOUR,
}
MIXING = ("centred", "share-of-batch", "running-sum", "reversed", "flattened", "three-rows", "by-each-other")


def _spec(name: str, columns: int) -> BotSpec:
    document = {
        "id": "some-bot",
        "tenant": "acme",
        "poolGroup": "realtime",
        "framework": "onnx",
        "model": {"format": "onnx", "file": "model.onnx"},
        "inputs": [{"name": name, "datatype": "FP32", "shape": [-1, columns]}],
        "outputs": [{"name": "other", "datatype": "FP32", "shape": [-1]}],
    }
    return spec_from_document(document)


@pytest.fixture(scope="module")
def framework() -> OnnxFramework:
    """ONNX Runtime in this process."""
    return OnnxFramework(threads=1)


def _load(framework: OnnxFramework, models: Path, name: str, folder: Path, takes: tuple[str, int]) -> Model:
    folder.mkdir(exist_ok=True)
    shutil.copy(models / f"{name}.onnx", folder / "model.onnx")
    spec = _spec(*takes)
    return framework.load(spec, folder, spec.inputs)


@pytest.fixture(scope="module", params=INDEPENDENT)
def loaded(
    request: pytest.FixtureRequest,
    framework: OnnxFramework,
    onnx_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Model, str, int]:
    """A model whose rows do not depend on each other, and what it takes."""
    name: str = request.param
    model = _load(framework, onnx_models, name, tmp_path_factory.mktemp(name), INDEPENDENT[name])
    return model, *INDEPENDENT[name]


def _same(left: Mapping[str, Array], right: Mapping[str, Array]) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_allclose(array, right[name], rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 9), min_size=2, max_size=12), seed=st.integers(0, 2**32 - 1))
def test_together_is_as_one_by_one(loaded: tuple[Model, str, int], counts: list[int], seed: int) -> None:
    """To 1e-5, for any mix of requests: pipelines, trees of every kind, layers."""
    model, name, columns = loaded
    together = model.together
    assert together is not None
    rng = np.random.default_rng(seed)
    given_rows = [{name: rng.normal(0, 2, (count, columns)).astype(np.float32)} for count in counts]
    results = together.predict([model] * len(counts), given_rows)
    for result, rows in zip(results, given_rows, strict=True):
        assert not isinstance(result, Exception)
        _same(result, model.predict(rows))


@pytest.mark.parametrize("name", MIXING)
def test_rows_that_depend_on_each_other_are_never_joined(
    framework: OnnxFramework, onnx_models: Path, tmp_path: Path, name: str
) -> None:
    """Though all of their first dimensions are the same free one; and they really do depend."""
    model = _load(framework, onnx_models, name, tmp_path, FOUR)
    assert model.together is None
    rows: Any = np.arange(12, dtype=np.float32).reshape(3, 4)
    joined = model.predict({"x": rows})["y"]
    alone = np.vstack([model.predict({"x": rows[index : index + 1]})["y"][:1] for index in range(3)])
    assert not np.allclose(joined, alone, atol=1e-3) or name == "three-rows"


def test_two_bots_are_never_in_one_batch(framework: OnnxFramework, onnx_models: Path, tmp_path: Path) -> None:
    """Each has its own graph."""
    one = _load(framework, onnx_models, "linear", tmp_path / "one", FOUR)
    other = _load(framework, onnx_models, "linear", tmp_path / "other", FOUR)
    assert one.together is not other.together


def test_a_footprint_is_what_the_c_library_counted(framework: OnnxFramework, onnx_models: Path, tmp_path: Path) -> None:
    """More than the file, since trees are unpacked, and no multiple that nobody could explain."""
    model = _load(framework, onnx_models, "boosted", tmp_path, EIGHT)
    file_bytes = (onnx_models / "boosted.onnx").stat().st_size
    assert 2 * file_bytes < model.footprint_bytes < 12 * file_bytes + (160 << 10)
