"""How a replica ends, and how replicas share one listening socket."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import orjson
import pytest

from botshard.notify import Notice, parse_notice
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Program, Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

KEY = key_of("realtime", "torch")
POOL = pool_of("realtime", "torch")
BODY = orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})


@pytest.fixture(autouse=True)
def _one_bot(fleet: Fleet, tmp_path: Path) -> None:
    fleet.publish(linear_folder(tmp_path, "one"))
    fleet.publish_table({KEY: [POOL]})


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "SIGINT", "lifeline"])
def test_an_idle_replica_ends_at_once(torch_zygote: Zygote, fleet: Fleet, how: signal.Signals | None) -> None:
    """With exit code 0, although a client keeps its connection, and its last report says that it is not ready."""
    replica = Replica(torch_zygote, fleet, POOL).wait_ready()
    with socket.create_connection(("127.0.0.1", replica.port)) as kept:
        kept.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        received = b""
        while not received.endswith(b"}"):
            received += kept.recv(4096)
        assert received.startswith(b"HTTP/1.1 200")
        started_s = time.monotonic()
        if how is None:
            replica.cut_lifeline()
        assert replica.stop(how) == 0
        assert time.monotonic() - started_s < 1.0
        assert kept.recv(4096) == b""
    report = fleet.report(POOL, replica.name)
    assert report is not None
    assert not report.ready


def test_a_request_in_flight_is_answered_before_the_end(torch_zygote: Zygote, fleet: Fleet) -> None:
    """A body that is still being sent when SIGTERM comes gets its answer."""
    replica = Replica(torch_zygote, fleet, POOL).wait_ready()
    with socket.create_connection(("127.0.0.1", replica.port)) as client:
        client.settimeout(10)
        head = b"POST /v2/models/one/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)
        client.sendall(head + BODY[:10])
        eventually(lambda: replica.metric("botshard_in_flight") == 1)
        os.kill(replica.pid, signal.SIGTERM)
        # The parent's copy of the socket still queues connections; this one's own end of it is closed.
        eventually(lambda: "draining" in torch_zygote.log.read_text(encoding="utf-8"))
        client.sendall(BODY[10:])
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200")
    assert replica.stop(None) == 0


def test_two_replicas_share_one_socket(torch_zygote: Zygote, fleet: Fleet) -> None:
    """Either may end under load; no request on a new connection is lost."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        replicas = [Replica(torch_zygote, fleet, POOL, replica=name, listener=listener) for name in ("r-1", "r-2")]
        eventually(lambda: all((r := fleet.report(POOL, one.name)) and r.ready for one in replicas))
        statuses: list[int] = []
        is_over = threading.Event()

        def ask() -> None:
            while not is_over.is_set():
                with contextlib.closing(
                    http.client.HTTPConnection("127.0.0.1", replicas[0].port, timeout=10)
                ) as client:
                    client.request("POST", "/v2/models/one/infer", BODY, {"connection": "close"})
                    answer = client.getresponse()
                    answer.read()
                    statuses.append(answer.status)

        with ThreadPoolExecutor(2) as threads:
            asking = [threads.submit(ask) for _ in range(2)]
            try:
                eventually(lambda: len(statuses) > 50)
                assert replicas[0].stop() == 0
                seen = len(statuses)
                eventually(lambda: len(statuses) > seen + 50)
            finally:
                is_over.set()
                # The clients first: whoever asks when no replica is left waits in this listener's queue for nobody.
                wait(asking)
                replicas[1].stop()
        for one in asking:
            one.result()
        assert set(statuses) == {200}


def test_notices_tell_ready_busy_and_stopping(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """What the stack scales and drains by."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(10)

        def hear() -> Notice:
            notice = parse_notice(heard.recv(4096))
            assert notice is not None
            assert notice.pid == replica.pid
            return notice

        replica = Replica(torch_zygote, fleet, POOL, NOTIFY_SOCKET=str(path))
        assert hear().ready is True
        assert replica.multiply("one").status == 200
        notice = hear()
        while notice.in_flight:
            notice = hear()
        assert (notice.in_flight, notice.requests) == (0, 1)
        replica.stop()
        assert hear().ready is False


def test_the_program_serves_on_a_port_of_its_own(fleet: Fleet, tmp_path: Path) -> None:
    """`python -m kserve_runtimes` without a zygote, as in a container, ends by SIGTERM with code 0."""
    program = Program(tmp_path / "program.log")
    replica = Replica(program, fleet, POOL).wait_ready()
    assert replica.multiply("one").status == 200
    assert replica.stop() == 0
    lines = program.log.read_text(encoding="utf-8").splitlines()
    assert all(line[13:14] in "IW" and "pool.torch" in line for line in lines), lines


def test_wrong_settings_are_told_and_end_with_code_2(fleet: Fleet, tmp_path: Path) -> None:
    """All of them, on standard error, before anything starts."""
    program = Program(tmp_path / "program.log")
    pid = program.fork({**fleet.environ(POOL, "jax", "r-1"), "RUNTIME_THREADS": "0"}, {})
    assert program.wait_exit(pid) == 2
    told = program.log.read_text(encoding="utf-8")
    assert "RUNTIME_FRAMEWORK" in told
    assert "RUNTIME_THREADS" in told
