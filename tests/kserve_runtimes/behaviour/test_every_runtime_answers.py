"""What every runtime does alike, whatever loads the model: right answers, right refusals."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from botshard.oip.client import decode_response, encode_request
from botshard.oip.tensors import Tensor
from botshard.sharding.ids import BotId
from tests.kserve_runtimes.behaviour.conftest import Rows, Served, expected
from tests.oip.schema import assert_valid
from tests.waiting import eventually

ROW = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


def _rows(count: int, seed: int = 3) -> Rows:
    return np.random.default_rng(seed).normal(0, 1, (count, 4)).astype(np.float32)


def _values(document: dict[str, Any]) -> Rows:
    (output,) = document["outputs"]
    assert (output["name"], output["datatype"]) == ("y", "FP32")
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


@pytest.mark.parametrize("count", [1, 2, 5, 64, 1000])
def test_rows_are_answered_as_the_offline_model_does(served: Served, count: int) -> None:
    """To 1e-5, one row and many, under the declared name."""
    rows = _rows(count)
    answer = served.multiply(rows)
    assert answer.status == 200, answer.body
    assert_valid(answer.json, "inference_response")
    np.testing.assert_allclose(_values(answer.json), expected(rows), atol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(served: Served) -> None:
    """To 1e-5: the same alone and among others."""
    rows = _rows(7)
    together = _values(served.multiply(rows).json)
    alone = np.vstack([_values(served.multiply(rows[index : index + 1]).json) for index in range(7)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_binary_tensors_go_both_ways(served: Served, count: int) -> None:
    """And are what JSON is."""
    rows = _rows(count)
    body, length = encode_request([Tensor.of("x", rows)], binary=True)
    headers = {"inference-header-content-length": str(length)}
    answer = served.replica.request("POST", "/v2/models/linear/infer", body, headers)
    assert answer.status == 200, answer.body
    decoded = decode_response(answer.body, header_length=int(answer.headers["inference-header-content-length"]))
    np.testing.assert_allclose(decoded.outputs["y"].numpy(), expected(rows), atol=1e-5)


def test_v1_is_answered(served: Served) -> None:
    """One prediction an instance."""
    answer = served.replica.post("/v1/models/linear:predict", {"instances": ROW.tolist()})
    assert answer.status == 200, answer.body
    assert answer.json["predictions"][0] == pytest.approx(expected(ROW)[0], abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"shape": [1, 3], "data": [1, 2, 3]}, "shape [1, 3] does not fit", id="narrower"),
        pytest.param({"shape": [1, 5], "data": [1, 2, 3, 4, 5]}, "shape [1, 5] does not fit", id="wider"),
        pytest.param({"shape": [4]}, "shape [4] does not fit", id="without rows"),
        pytest.param({"shape": [1, 1, 4]}, "shape [1, 1, 4] does not fit", id="one more dimension"),
        pytest.param({"shape": [2, 4]}, "data holds 4 elements", id="too few elements"),
        pytest.param({"shape": [0, 4], "data": []}, "'x'", id="no rows"),
        pytest.param({"datatype": "FP64"}, "datatype must be FP32", id="another float"),
        pytest.param({"datatype": "INT64"}, "datatype must be FP32", id="whole numbers"),
        pytest.param({"datatype": "BYTES", "data": ["a", "b", "c", "d"]}, "datatype must be FP32", id="text"),
        pytest.param({"data": [1, 2, 3, "4"]}, "must be numbers", id="a text among numbers"),
        pytest.param({"data": [1, 2, 3, 1e39]}, "too large", id="too large a number"),
        pytest.param({"name": "z"}, "'z': is unknown", id="another name"),
    ],
)
def test_a_wrong_tensor_is_the_clients_mistake(served: Served, changes: dict[str, Any], said: str) -> None:
    """400 that names the tensor, and the model never sees it."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], **changes}
    answer = served.replica.post("/v2/models/linear/infer", {"inputs": [tensor]})
    assert (answer.status, said in answer.error) == (400, True), answer.body


def test_what_the_model_cannot_answer_is_500_and_passes(served: Served) -> None:
    """Numbers that overflow within: JSON has none for infinity. The next request is answered."""
    answer = served.multiply(
        np.full((1, 4), 3e38, dtype=np.float32) * np.sign(expected(np.eye(4, dtype=np.float32)).T[:1])
    )
    assert answer.status == 500, answer.body
    assert answer.error
    assert served.multiply(ROW).status == 200


def test_a_damaged_artifact_harms_no_other(served: Served) -> None:
    """It says why, and the pool is ready without it."""
    answer = served.replica.multiply("broken")
    assert (answer.status, "is damaged" in answer.error) == (503, True)
    assert served.replica.bots() == {"absent": 0, "loading": 0, "resident": 1, "draining": 0, "failed": 1}
    assert served.multiply(ROW).status == 200


def test_metadata_tells_what_runs_and_what_it_takes(served: Served) -> None:
    """`platform` is framework and format; tensors are the declared ones."""
    answer = served.replica.get("/v2/models/linear")
    assert_valid(answer.json, "metadata_model_response")
    assert answer.json["platform"] == served.kind.platform
    assert answer.json["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert answer.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]


def test_a_footprint_is_measured(served: Served) -> None:
    """At least the weights."""

    def told() -> bool:
        report = served.fleet.report(served.pool, "r-1")
        assert report is not None
        return report.bots[BotId("linear")].footprint_bytes >= 4 * 2 * 4

    eventually(told)


def test_threads_do_not_change_an_answer(served: Served) -> None:
    """The same rows asked by eight at once: the same bits each time."""
    rows = _rows(9)
    with ThreadPoolExecutor(8) as clients:
        bodies = list(clients.map(lambda _: served.multiply(rows).json["outputs"][0]["data"], range(64)))
    assert all(body == bodies[0] for body in bodies)


def test_a_mix_of_requests_is_answered_each_by_itself(served: Served) -> None:
    """Few rows, many rows and wrong ones at the same time: everybody gets its own answer."""

    def ask(number: int) -> None:
        if number % 7 == 3:
            assert served.multiply(np.zeros((1, 3), dtype=np.float32)).status == 400
            return
        rows = _rows(1 + number % 5 * (40 if number % 11 == 0 else 1), seed=number)
        answer = served.multiply(rows)
        assert answer.status == 200, answer.body
        np.testing.assert_allclose(_values(answer.json), expected(rows), atol=1e-5)

    with ThreadPoolExecutor(8) as clients:
        _all(clients.map(ask, range(200)))


def _all(results: Iterable[None]) -> None:
    """Wait for all, and raise what one of them raised."""
    for _ in results:
        pass
