"""The Open Inference Protocol over REST on every path, V1 and the repository extension."""

from __future__ import annotations

import gzip

import numpy as np
import orjson
import pytest

from botshard.oip.client import encode_request
from botshard.oip.tensors import Tensor
from tests.kserve_runtimes.bot_folders import LABELS, linear_weights
from tests.kserve_runtimes.conftest import Served
from tests.oip.schema import assert_valid

ROW = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


@pytest.mark.parametrize("bot", ["linear", "exported"])
@pytest.mark.parametrize("version", ["", "/versions/1"], ids=["latest", "version in the path"])
def test_numbers_in_are_numbers_out(served: Served, bot: str, version: str) -> None:
    """A declared network and an exported program give what the offline model gives."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW.ravel().tolist()}
    answer = served.replica.post(f"/v2/models/{bot}{version}/infer", {"id": "i-1", "inputs": [tensor]})
    assert answer.status == 200
    assert_valid(answer.json, "inference_response")
    assert (bot, "1", "i-1") == (answer.json["model_name"], answer.json["model_version"], answer.json["id"])
    assert answer.headers["x-botshard-bot-version"] == "1"
    assert answer.json["outputs"][0]["data"] == pytest.approx((ROW @ linear_weights(1).T).ravel(), abs=1e-5)


def test_texts_in_are_labels_out(served: Served) -> None:
    """Several rows at once, each with a label and probabilities that sum to one."""
    answer = served.replica.ask("text", "good morning", "bye", "when do you open?")
    assert_valid(answer.json, "inference_response")
    label, probabilities = answer.json["outputs"]
    assert (label["name"], label["shape"], label["datatype"]) == ("label", [3, 1], "BYTES")
    assert set(label["data"]) <= set(LABELS)
    assert np.array(probabilities["data"]).reshape(3, 3).sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_rows_are_independent(served: Served) -> None:
    """A row's answer does not depend on its neighbours."""
    together = served.replica.ask("text", "good morning", "bye").json["outputs"][1]["data"][:3]
    alone = served.replica.ask("text", "good morning").json["outputs"][1]["data"]
    assert together == pytest.approx(alone, abs=1e-6)


def test_a_gzipped_body_without_content_type_is_taken(served: Served) -> None:
    """What tritonclient sends."""
    body = gzip.compress(encode_request([Tensor.of("text", ["hi"])]).body)
    answer = served.replica.request("POST", "/v2/models/text/infer", body, {"content-encoding": "gzip"})
    assert answer.status == 200


def test_only_requested_outputs_come_back(served: Served) -> None:
    """In the order of the request."""
    body = encode_request([Tensor.of("text", ["hi"])], outputs=["probabilities"]).body
    answer = served.replica.request("POST", "/v2/models/text/infer", body)
    assert [output["name"] for output in answer.json["outputs"]] == ["probabilities"]


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        pytest.param("/v2", "metadata_server_response", id="server"),
        pytest.param("/v2/models/text", "metadata_model_response", id="bot"),
        pytest.param("/v2/models/text/versions/1", "metadata_model_response", id="version of a bot"),
    ],
)
def test_metadata_is_what_the_description_says(served: Served, path: str, schema: str) -> None:
    """Server and model metadata hold no nulls."""
    answer = served.replica.get(path)
    assert answer.status == 200
    assert_valid(answer.json, schema)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/v2/health/live", 200, id="live"),
        pytest.param("/v2/health/ready", 200, id="ready"),
        pytest.param("/pool/ready", 200, id="pool ready"),
        pytest.param("/v2/models/text/ready", 200, id="bot ready"),
        pytest.param("/v2/models/text/versions/1/ready", 200, id="version ready"),
        pytest.param("/v2/models/text/versions/2/ready", 404, id="other version"),
        pytest.param("/v2/models/text/versions/2", 404, id="metadata of another version"),
        pytest.param("/v2/models/nobody/ready", 404, id="unknown bot"),
        pytest.param("/v2/models/broken/ready", 503, id="broken bot"),
        pytest.param("/v2/models/elsewhere/ready", 421, id="another pool's bot"),
        pytest.param("/v1/models/text", 200, id="V1 ready"),
        pytest.param("/v1/models/broken", 503, id="V1 broken"),
        pytest.param("/", 200, id="the SDK's alive"),
    ],
)
def test_health_tells_by_its_status(served: Served, path: str, status: int) -> None:
    """And GET and HEAD tell the same."""
    assert status == served.replica.get(path).status
    if path != "/":
        assert status == served.replica.request("HEAD", path).status


def test_the_pool_lists_its_bots(served: Served) -> None:
    """V2, V1 and the repository's index name the same bots, and the index their state."""
    names = ["broken", "exported", "linear", "text"]
    assert served.replica.get("/v2/models").json == {"models": names}
    assert served.replica.get("/v1/models").json == {"models": names}
    index = served.replica.request("POST", "/v2/repository/index").json
    assert [(entry["name"], entry["version"]) for entry in index] == [(name, "1") for name in names]
    assert {entry["state"] for entry in index if entry["name"] != "broken"} == {"READY"}
    assert "is damaged" in index[0]["reason"]
    ready = served.replica.post("/v2/repository/index", {"ready": True}).json
    assert [entry["name"] for entry in ready] == names[1:]


def test_load_and_unload_are_answered(served: Served) -> None:
    """A bot of a realtime pool can be loaded, which it is, and is not unloaded."""
    assert served.replica.post("/v2/repository/models/text/load", {}).json == {"name": "text", "load": True}
    refused = served.replica.post("/v2/repository/models/text/unload", {})
    assert (refused.status, "stay loaded" in refused.error) == (400, True)
    assert served.replica.post("/v2/repository/models/nobody/load", {}).status == 404
    assert served.replica.post("/v2/repository/models/broken/load", {}).status == 503


def test_v1_predict_answers_instances(served: Served) -> None:
    """One prediction an instance, with a value for each output."""
    answer = served.replica.request("POST", "/v1/models/text:predict", orjson.dumps({"instances": ["hi", "bye"]}))
    assert answer.status == 200
    assert [sorted(prediction) for prediction in answer.json["predictions"]] == [["label", "probabilities"]] * 2
    linear = served.replica.post("/v1/models/linear:predict", {"instances": ROW.tolist()})
    assert linear.json["predictions"][0] == pytest.approx((ROW @ linear_weights(1).T)[0], abs=1e-5)
    assert served.replica.post("/v1/models/linear:predict", {"instances": []}).status == 400
    assert served.replica.post("/v1/models/text:explain", {"instances": ["hi"]}).status == 501
