"""The load generators against a server that gives everybody the same answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.http_load import run_load, whole_bytes
from benchmarks.open_load import run_open_load
from benchmarks.pool_bots import mlp_requests
from benchmarks.pool_subjects import Subject, free_port, module, running


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of such a server."""
    port = free_port()
    subject = Subject("answers", module("benchmarks.pool_servers", "answers", port), port, mlp_requests())
    with running([subject]):
        yield port


def test_a_closed_loop_counts_every_answer(port: int) -> None:
    """None fails, each has its latency."""
    load = run_load(port, mlp_requests(), connections=8, seconds=0.2)
    assert (load.failed, load.first_failure) == (0, "")
    assert load.answered == len(load.latencies_s) > 8
    assert load.latencies_s == sorted(load.latencies_s)


def test_an_open_loop_sends_each_request_and_looks_at_each_answer(port: int) -> None:
    """In their order, over fewer connections than there are requests at once; what is wrong is told."""
    arrivals = [(0.001 * (number // 10), number % 16) for number in range(200)]
    seen = run_open_load(
        port, mlp_requests(), arrivals, connections=4, check=lambda subject, body: body[:1].decode()[subject:]
    )
    assert sorted(seen.subject) == sorted(subject for _, subject in arrivals)
    assert (seen.failed, seen.wrong) == (0, sum(subject == 0 for _, subject in arrivals))
    assert all(done_s >= due_s for due_s, done_s in zip(seen.due_s, seen.done_s, strict=True))


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-le", None, id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 41, id="a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 3\r\nz: 1\r\n\r\nabc", 53, id="whole"),
    ],
)
def test_the_length_of_an_answer_is_known_from_its_head(answer: bytes, size: int | None) -> None:
    """Whatever the case of the header's name."""
    assert whole_bytes(answer) == size
