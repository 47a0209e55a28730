"""What the fuzzers begin with, and what they have found: each still holds."""

from __future__ import annotations

import asyncio
import random

import pytest

from botshard.http1.limits import Limits
from fuzz import grpc_checks, http_checks, tensor_checks
from fuzz.http_front import feed
from fuzz.seeds import GRPC_SEEDS, HTTP_SEEDS, TENSOR_SEEDS


@pytest.mark.parametrize("data", TENSOR_SEEDS, ids=range(len(TENSOR_SEEDS)))
def test_tensors_hold_for_every_seed(data: bytes) -> None:
    """Only errors of the client's come out; the short way says what the long one says; what is written is read."""
    tensor_checks.check(data)


@pytest.mark.parametrize("data", GRPC_SEEDS, ids=range(len(GRPC_SEEDS)))
def test_grpc_holds_for_every_seed(data: bytes) -> None:
    """Only errors of the client's come out; typed and raw say the same; what is written is read."""
    grpc_checks.check(data)


@pytest.mark.parametrize("data", HTTP_SEEDS, ids=range(len(HTTP_SEEDS)))
def test_the_http_front_holds_for_every_seed(data: bytes) -> None:
    """The same answers in any pieces, the same requests as another parser reads, and an end."""
    http_checks.check(data)


def test_the_http_front_holds_for_seeds_one_after_the_other() -> None:
    """A hundred pipelines of three."""
    draw = random.Random(7)
    for _ in range(100):
        http_checks.check(b"".join(draw.choices(HTTP_SEEDS, k=3)))


def test_tensors_hold_for_random_bytes() -> None:
    """Two thousand of them."""
    draw = random.Random(7)
    for _ in range(2000):
        tensor_checks.check(draw.randbytes(draw.randrange(200)))


def test_the_seeds_reach_what_they_are_for() -> None:
    """They arrive at the hot requests and at the application: a harness that reaches nothing finds nothing."""
    with asyncio.Runner() as runner:
        heard = [one for data in HTTP_SEEDS for one in runner.run(feed([data], Limits())).heard]
    assert {b"/hot/a", b"/hot/b", b"/a", b"/a?b=c", b"/stream"} <= {one.target for one in heard}
    assert {b"hello", b"abcde"} <= {one.body for one in heard}
