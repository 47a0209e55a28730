"""What a client is told: every status, always as the protocol's error."""

from __future__ import annotations

import gzip
import socket
from typing import Any

import orjson
import pytest

from botshard.sharding.ids import BotId
from tests.kserve_runtimes.conftest import Served
from tests.oip.schema import assert_valid
from tests.waiting import eventually

TEXT = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["good morning"]}


def _infer(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**TEXT, **changes}]}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        pytest.param("/v2/models/nobody/infer", 404, "'nobody' does not exist", id="unknown bot"),
        pytest.param("/v2/models/a%20b/infer", 404, "does not exist", id="not even a bot id"),
        pytest.param("/v2/models/elsewhere/infer", 421, "route it again", id="another pool's"),
        pytest.param("/v2/models/broken/infer", 503, "is damaged", id="failed to load"),
        pytest.param("/v2/models/text/versions/7/infer", 404, "version 1 is", id="another version"),
        pytest.param("/v2/models/text/versions/one/infer", 404, "version 1 is", id="no version at all"),
        pytest.param("/v1/models/nobody:explain", 404, "does not exist", id="unknown bot's explainer"),
        pytest.param("/v1/models/text:explain", 501, "no explainer", id="no explainer"),
        pytest.param("/v1/models/:odd", 405, "use GET or HEAD", id="a colon in a name"),
        pytest.param("/v2/nothing", 404, "Not Found", id="unknown route"),
        pytest.param("/v2/models/text/ready", 405, "use GET or HEAD", id="wrong method"),
        pytest.param("/", 405, "Method Not Allowed", id="wrong method of the SDK's"),
    ],
)
def test_a_post_that_cannot_be_answered_says_why(served: Served, path: str, status: int, said: str) -> None:
    """Status and reason, with the pool and its epoch in the headers."""
    answer = served.replica.post(path, _infer())
    assert (status, True) == (answer.status, said in answer.error), answer.body
    assert_valid(answer.json, "inference_error_response")
    assert answer.headers["x-botshard-epoch"] == "1"
    assert answer.headers["x-botshard-pool"] == served.pool


def test_a_bot_that_cannot_be_loaded_says_when_to_ask_again(served: Served) -> None:
    """503 comes with Retry-After, in whole seconds."""
    assert int(served.replica.multiply("broken").headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({"inputs": []}, "'text': is missing", id="no input"),
        pytest.param({}, "inputs must be an array", id="no inputs"),
        pytest.param(_infer(name="txet"), "'txet': is unknown", id="unknown input"),
        pytest.param(_infer(datatype="FP32"), "'text': datatype must be BYTES", id="wrong datatype"),
        pytest.param(_infer(shape=[1, 2]), "'text': shape [1, 2] does not fit", id="wrong shape"),
        pytest.param(_infer(shape=[2, 1]), "'text': data holds 1 elements", id="too few elements"),
        pytest.param(_infer(data=[7]), "'text': data of BYTES must be text", id="wrong element"),
        pytest.param({**_infer(), "outputs": [{"name": "color"}]}, "output 'color': is unknown", id="unknown output"),
    ],
)
def test_bad_input_names_the_tensor(served: Served, document: dict[str, Any], said: str) -> None:
    """400, and what is wrong with which tensor."""
    answer = served.replica.post("/v2/models/text/infer", document)
    assert answer.status == 400
    assert said in answer.error


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        pytest.param(b"{", {}, "not JSON", id="not JSON"),
        pytest.param(b"", {}, "not JSON", id="empty"),
        pytest.param(b"{}", {"inference-header-content-length": "9"}, "the body has 2 bytes", id="header length"),
        pytest.param(b"{}", {"inference-header-content-length": "x"}, "must be a number", id="header length no number"),
        pytest.param(b"{}", {"content-encoding": "gzip"}, "not gzip", id="not gzip"),
        pytest.param(b"{}", {"content-encoding": "zstd"}, "must be gzip", id="unknown encoding"),
        pytest.param(b"{}", {"x-request-timeout": "soon"}, "X-Request-Timeout must be", id="no duration"),
        pytest.param(b"{}", {"x-botshard-epoch": "-1"}, "x-botshard-epoch must be", id="no epoch"),
    ],
)
def test_a_bad_body_or_header_is_400(served: Served, body: bytes, headers: dict[str, str], said: str) -> None:
    """Whatever is not a request of the protocol is refused with a reason, not a 500."""
    answer = served.replica.request("POST", "/v2/models/text/infer", body, headers)
    assert (answer.status, said in answer.error) == (400, True), answer.body


def test_a_body_over_the_limit_is_413(served: Served) -> None:
    """The limit is this replica's 64 KiB, with a declared length."""
    answer = served.replica.request("POST", "/v2/models/text/infer", b"x" * (64 * 1024 + 1))
    assert (answer.status, "larger than 65536 bytes" in answer.error) == (413, True)


def test_a_chunked_body_over_the_limit_is_413(served: Served) -> None:
    """Also where no length was declared."""
    response = served.replica.http.request(
        "POST", served.replica.url + "/v2/models/text/infer", body=iter([b"x" * 40_000] * 2), chunked=True
    )
    assert response.status == 413


def test_a_body_that_inflates_over_the_limit_is_413(served: Served) -> None:
    """A kilobyte of zeros is not a way around the limit."""
    body = gzip.compress(b"0" * 1_000_000)
    answer = served.replica.request("POST", "/v2/models/text/infer", body, {"content-encoding": "gzip"})
    assert answer.status == 413


def test_a_deadline_that_is_over_is_504(served: Served) -> None:
    """What the router has left is the deadline here too."""
    answer = served.replica.ask("text", "hello", x_request_timeout="0.000001")
    assert (answer.status, "not answered within" in answer.error) == (504, True)


def test_a_request_id_comes_back(served: Served) -> None:
    """With answers and with errors."""
    assert served.replica.ask("text", "hello", x_request_id="abc").headers["x-request-id"] == "abc"
    assert served.replica.ask("nobody", "hello", x_request_id="abc").headers["x-request-id"] == "abc"


def test_a_broken_bot_harms_no_other(served: Served) -> None:
    """The pool is ready, its other bots answer, and its report has the reason."""
    assert served.replica.ask("text", "hello").status == 200
    assert served.replica.bots()["failed"] == 1

    def told() -> bool:
        report = served.fleet.report(served.pool, "r-1")
        assert report is not None
        return "is damaged" in (report.bots[BotId("broken")].error or "")

    eventually(told)


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    """Two requests in one segment, two answers."""
    body = orjson.dumps(_infer())
    one = b"POST /v2/models/%s/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"
    with socket.create_connection(("127.0.0.1", served.replica.port)) as client:
        client.settimeout(10)
        client.sendall(one % (b"text", len(body), body) + one % (b"nobody", len(body), body))
        received = b""
        while received.count(b"HTTP/1.1 ") < 2 or b"does not exist" not in received:
            received += client.recv(65536)
    assert received.index(b"HTTP/1.1 200") < received.index(b"HTTP/1.1 404")


def test_metrics_name_the_busiest_bots_alone(served: Served) -> None:
    """In two families made for that; the number of all other series does not depend on the number of bots."""
    served.replica.ask("text", "hello")
    text = served.replica.get("/metrics").body.decode()
    assert 'model_name="' not in text
    others = [line for line in text.splitlines() if not line.startswith("botshard_bot_")]
    assert '"text"' not in "\n".join(others)
    assert served.replica.metric("botshard_loads_total", outcome="loaded") >= 3
    assert served.replica.metric("botshard_residents") == 3
