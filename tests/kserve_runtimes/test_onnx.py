"""The ONNX runtime: models of scikit-learn answer as scikit-learn does; one that cannot be loaded harms no other."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml

from botshard.oip.client import encode_request
from botshard.oip.tensors import Tensor
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote

POOL = pool_of("realtime", "onnx")
ROWS = {"name": "X", "datatype": "FP32", "shape": [-1, 8]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [-1]}
CLASSIFIERS = ("logistic", "boosted", "histograms", "forest")
TEXT = {"name": "text", "datatype": "BYTES", "shape": [-1, 1]}


def _probabilities(classes: int) -> dict[str, Any]:
    return {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]}


BOTS: dict[str, dict[str, Any]] = {
    **{name: {"inputs": [ROWS], "outputs": [LABEL, _probabilities(3)]} for name in CLASSIFIERS},
    "regression": {"inputs": [ROWS], "outputs": [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}]},
    "text": {"inputs": [TEXT], "outputs": [{**LABEL, "datatype": "BYTES"}, _probabilities(2)]},
    "columns": {
        "inputs": [
            {"name": "number", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "city", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "outputs": [LABEL],
    },
    "labelled": {
        "file": "logistic",
        "inputs": [ROWS],
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1, 1]}],
        "postprocess": [{"step": "label", "labels": ["a", "b", "c"], "input": "probabilities"}],
    },
    "beside": {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    },
    "small-numbers": {
        "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "INT32", "shape": [-1, 1]}],
    },
    "unknown": {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    },
}


@dataclass(frozen=True, slots=True)
class Served:
    """A replica with the bots above, and what scikit-learn answers."""

    replica: Replica
    models: Path
    log: Path

    def answers(self, name: str) -> dict[str, Any]:
        """What the estimator itself answers."""
        answers: dict[str, Any] = orjson.loads((self.models / f"{name}.json").read_bytes())
        return answers

    def ask(self, bot: str, *tensors: Tensor, binary: bool = False) -> Any:
        """The answer to these."""
        body, length = encode_request(list(tensors), binary=binary)
        headers = {} if length is None else {"inference-header-content-length": str(length)}
        return self.replica.request("POST", f"/v2/models/{bot}/infer", body, headers)

    def outputs(self, bot: str, *tensors: Tensor) -> dict[str, Any]:
        """The data of each output."""
        answer = self.ask(bot, *tensors)
        assert answer.status == 200, answer.body
        return {output["name"]: output["data"] for output in answer.json["outputs"]}

    def rows(self) -> Tensor:
        """Rows that the estimators know the answer to."""
        return Tensor.of("X", np.array(orjson.loads((self.models / "rows.json").read_bytes()), dtype=np.float32))


def _folder(root: Path, models: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    spec = dict(BOTS[name])
    shutil.copy(models / f"{spec.pop('file', name)}.onnx", folder / "model.onnx")
    if name == "beside":
        shutil.copy(models / "weights.bin", folder)
    head = {"id": name, "tenant": "acme", "poolGroup": "realtime", "framework": "onnx"}
    document = {**head, "model": {"format": "onnx", "file": "model.onnx"}, **spec}
    (folder / "bot.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def served(onnx_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One realtime replica with all of them, two threads for its models."""
    root = tmp_path_factory.mktemp("onnx")
    models = onnx_models
    fleet = Fleet(root / "fleet")
    fleet.publish(*(_folder(root / "bots", models, name) for name in BOTS))
    fleet.publish_table({key_of("realtime", "onnx"): [POOL]})
    log = root / "zygote.log"
    with Zygote(log, framework="onnx") as zygote:
        zygote.wait_ready()
        with Replica(zygote, fleet, POOL, framework="onnx", RUNTIME_THREADS="2") as replica:
            yield Served(replica.wait_ready(), models, log)
    fleet.close()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_scikit_learn_does(served: Served, name: str) -> None:
    """Labels are whole numbers, probabilities floats, to 1e-5."""
    found, wanted = served.outputs(name, served.rows()), served.answers(name)
    assert found["label"] == wanted["label"]
    assert found["probabilities"] == pytest.approx(np.ravel(wanted["probabilities"]), abs=1e-5)


def test_a_regression_answers_as_scikit_learn_does(served: Served) -> None:
    """Whatever the graph calls its only output."""
    found = served.outputs("regression", served.rows())["value"]
    assert found == pytest.approx(served.answers("regression")["label"], abs=1e-4)


def test_texts_are_taken_and_given(served: Served) -> None:
    """TF-IDF within the graph, labels that are words."""
    texts = ["hello there", "good morning", "bye now", "see you later"]
    found, wanted = served.outputs("text", Tensor.of("text", texts)), served.answers("text")
    assert found["label"] == wanted["label"]
    assert found["probabilities"] == pytest.approx(np.ravel(wanted["probabilities"]), abs=1e-5)


def test_columns_are_inputs_of_their_own(served: Served) -> None:
    """Text and numbers, given in another order than the graph's."""
    numbers = Tensor.of("number", np.array([[1.0], [4.0]], dtype=np.float32))
    found = served.outputs("columns", numbers, Tensor.of("city", ["Rome", "Oslo"]))
    assert found["label"] == served.answers("columns")["label"]


def test_steps_name_the_output_that_they_take(served: Served) -> None:
    """Labels of ours, of the graph's probabilities."""
    wanted = ["abc"[label] for label in served.answers("logistic")["label"]]
    assert served.outputs("labelled", served.rows())["label"] == wanted


def test_weights_beside_the_model_are_found(served: Served) -> None:
    """In the replica's cache as in the author's folder."""
    row = Tensor.of("x", np.ones((1, 4), dtype=np.float32))
    assert served.outputs("beside", row)["y"] == [12.0, 16.0]


def test_text_that_is_none_is_the_clients_mistake(served: Served) -> None:
    """400, whoever would have decoded it."""
    answer = served.ask("text", Tensor("text", "BYTES", (1, 1), [b"\xff\xfe"]), binary=True)
    assert (answer.status, "must be UTF-8" in answer.error) == (400, True)


def test_a_number_too_large_for_the_graph_is_the_clients_mistake(served: Served) -> None:
    """A graph of 32 bits takes what fits into them, never a part of a number."""
    small, large = (Tensor.of("x", np.array([[number]])) for number in (-(2**31), 2**31))
    assert served.outputs("small-numbers", small)["y"] == [-(2**31)]
    answer = served.ask("small-numbers", large)
    assert (answer.status, "must lie in -2147483648 … 2147483647" in answer.error) == (400, True)


def test_a_graph_that_cannot_be_loaded_harms_no_other(served: Served) -> None:
    """An operator that there is not: 503 with what ONNX Runtime says, all others answer."""
    answer = served.ask("unknown", Tensor.of("x", np.ones((1, 4), dtype=np.float32)))
    assert (answer.status, "Nonsense" in answer.error) == (503, True)
    assert served.replica.bots()["resident"] == len(BOTS) - 1


def test_nothing_is_printed_and_nobody_is_called(served: Served) -> None:
    """No banner, no log of ONNX Runtime, and no thread of its telemetry: a zygote has one thread, or it ends."""
    lines = served.log.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d\.\d+ \w pool\.onnx ", line)] == []
