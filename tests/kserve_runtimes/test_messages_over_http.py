"""A replica's HTTP port takes gRPC's messages of inference as bodies, and answers with messages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from botshard.oip.headers import MESSAGE
from botshard.oip.tensors import Tensor
from tests.kserve_runtimes.bot_folders import linear_weights
from tests.kserve_runtimes.conftest import Served
from tests.oip.grpc_messages import infer_request, read_answer

ROW = Tensor.of("x", np.array([[1.0, 2.0, 3.0, 4.0]], np.float32))


def _ask(served: Served, message: bytes, bot: str = "linear", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = served.replica.request("POST", f"/v2/models/{bot}/infer", message, {"content-type": MESSAGE, **more})
    return answer.status, answer.headers, answer.body


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_a_message_is_answered_with_one(served: Served, *, raw: bool) -> None:
    """In the form that it was asked in, with the headers that every answer has."""
    message = infer_request("linear", ROW, raw=raw, request_id="mine").SerializeToString()
    status, headers, body = _ask(served, message, x_request_id="r-7")
    response, outputs = read_answer(body)
    assert (status, headers["content-type"]) == (200, MESSAGE)
    assert (response.model_name, response.model_version, response.id) == ("linear", "1", "mine")
    assert bool(response.raw_output_contents) is raw
    assert np.allclose(outputs["y"].numpy(), ROW.numpy() @ linear_weights(1).T, rtol=1e-5)
    assert headers["x-request-id"] == "r-7"
    assert (headers["x-botshard-epoch"], headers["x-botshard-pool"]) == ("1", str(served.pool))
    assert headers["x-botshard-bot-version"] == "1"


@pytest.mark.parametrize(
    ("message", "bot", "status", "text"),
    [
        (b"\xff", "linear", 400, "not a ModelInferRequest"),
        (infer_request("other", ROW, raw=True).SerializeToString(), "linear", 400, "another one"),
        (infer_request("linear", raw=True).SerializeToString(), "linear", 400, "x"),
        (infer_request("nobody", ROW, raw=True).SerializeToString(), "nobody", 404, "nobody"),
        (infer_request("elsewhere", ROW, raw=True).SerializeToString(), "elsewhere", 421, "elsewhere"),
    ],
    ids=["no message", "another model", "no input", "unknown", "not this pool's"],
)
def test_errors_are_those_of_rest(served: Served, message: bytes, bot: str, status: int, text: str) -> None:
    """Status, JSON and text, whatever the body was."""
    found, headers, body = _ask(served, message, bot)
    assert (found, headers["content-type"]) == (status, "application/json")
    assert body.startswith(b'{"error":')
    assert text in body.decode()
