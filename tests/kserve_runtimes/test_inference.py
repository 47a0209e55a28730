"""Quick bots run on the loop, stage by stage with their neighbours; the answers are those of a thread."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest

from botshard.sharding.ids import VersionNumber
from kserve_runtimes.core.usual import LONG_IN_A_ROW, Took, Usual
from tests.kserve_runtimes.bot_folders import linear_weights
from tests.kserve_runtimes.conftest import Served
from tests.waiting import eventually

_REQUEST = b"POST /v2/models/%b/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"


def _body(*rows: tuple[float, ...]) -> bytes:
    data = [value for row in rows for value in row]
    return orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), 4], "data": data}]})


def _expected(*rows: tuple[float, ...]) -> list[float]:
    found: list[float] = (np.array(rows, dtype=np.float32) @ linear_weights(1).T).ravel().tolist()
    return found


def _warm(served: Served) -> None:
    for _ in range(20):
        assert served.replica.multiply("linear").status == 200


def test_many_at_once_get_each_their_own_answer(served: Served) -> None:
    """Good and bad requests, of several bots, on sixteen connections at the same time."""
    _warm(served)

    def ask(number: int) -> None:
        good, bad = _body((number, 1.0, 2.0, 3.0)), _body((number, 1.0, 2.0, 3.0)).replace(b'"x"', b'"z"')
        with socket.create_connection(("127.0.0.1", served.replica.port)) as client:
            client.settimeout(20)
            for body, status in ((good, 200), (bad, 400), (good, 200)):
                client.sendall(_REQUEST % (b"linear", len(body), body))
                received = b""
                while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                    received += client.recv(65536)
                head, _, text = received.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 %d" % status)
                if status == 200:
                    found = orjson.loads(text)["outputs"][0]["data"]
                    assert found == pytest.approx(_expected((number, 1.0, 2.0, 3.0)), abs=1e-4)
                else:
                    assert "'z': is unknown" in orjson.loads(text)["error"]

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(64)))
    assert served.replica.metric("botshard_in_flight") == 0


def test_pipelined_requests_of_a_turn_are_answered_in_order(served: Served) -> None:
    """Twenty in one segment, for two bots and for one that does not exist."""
    _warm(served)
    bots = [(b"linear", b"exported", b"nobody")[number % 3] for number in range(20)]
    body = _body((1.0, 2.0, 3.0, 4.0))
    with socket.create_connection(("127.0.0.1", served.replica.port)) as client:
        client.settimeout(20)
        client.sendall(b"".join(_REQUEST % (bot, len(body), body) for bot in bots))
        received = b""
        while received.count(b"HTTP/1.1 ") < len(bots) or not received.endswith(b"}"):
            received += client.recv(65536)
    answers = received.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"404" if bot == b"nobody" else b"200" for bot in bots]
    for bot, answer in zip(bots, answers, strict=True):
        assert b"'nobody'" in answer if bot == b"nobody" else b'"model_name":"%b"' % bot in answer


def test_a_client_that_goes_leaves_nothing_in_flight(served: Served) -> None:
    """However far its request was."""
    _warm(served)
    body = _body((1.0, 2.0, 3.0, 4.0))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", served.replica.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            client.sendall(_REQUEST % (b"linear", len(body), body))
    eventually(lambda: served.replica.metric("botshard_in_flight") == 0)
    assert served.replica.multiply("linear").status == 200


def test_a_bot_is_quick_by_its_own_time_alone() -> None:
    """One slow run among quick ones says that the machine is busy, many in a row that the bot is slow."""
    usual = Usual(VersionNumber(1), 0.02, 0.005)
    assert not usual.is_quick
    for _ in range(8):
        usual.note(Took(0.0003, 0.0002))
    assert usual.is_quick
    usual.note_here(0.05)
    assert usual.is_quick
    usual.note_here(0.0001)
    for _ in range(LONG_IN_A_ROW):
        assert usual.is_quick
        usual.note_here(0.05)
    assert not usual.is_quick


def test_a_bot_whose_framework_computes_elsewhere_is_not_quick() -> None:
    """The thread that waits takes no CPU time, and still takes as long."""
    usual = Usual(VersionNumber(1), 0.02, 0.0001)
    for _ in range(50):
        usual.note(Took(0.02, 0.0001))
    assert not usual.is_quick
