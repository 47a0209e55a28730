"""The router's decisions, which are pure: what is a bot's path, which pool, what an answer means, when again."""

from __future__ import annotations

import pytest

from botshard.sharding.ids import PoolName
from router.answers import Verdict, judge
from router.attempts import Attempts, Cause
from router.errors import WrongMethodError
from router.heads import read_answer_head
from router.targets import Target, read_target


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        pytest.param("POST", "/v2/models/b/infer", Target("b", versioned=False), id="infer"),
        pytest.param("POST", "/v2/models/b/versions/2/infer", Target("b", versioned=True), id="a version"),
        pytest.param("GET", "/v2/models/b", Target("b", versioned=False), id="metadata"),
        pytest.param("HEAD", "/v2/models/b/ready", Target("b", versioned=False), id="HEAD"),
        pytest.param("GET", "/v2/models/infer", Target("infer", versioned=False), id="a bot called infer"),
        pytest.param("GET", "/v2/models/versions", Target("versions", versioned=False), id="a bot called versions"),
        pytest.param("POST", "/v1/models/b:predict", Target("b", versioned=False), id="V1"),
        pytest.param("GET", "/v1/models/b", Target("b", versioned=False), id="V1 ready"),
        pytest.param("GET", "/v2/models", None, id="the list"),
        pytest.param("GET", "/v2/models/", None, id="no name"),
        pytest.param("GET", "/v2/models/b/", None, id="a slash at the end"),
        pytest.param("GET", "/v2/models/b/config", None, id="another action"),
        pytest.param("POST", "/v2/models/b/infer/x", None, id="too long"),
        pytest.param("GET", "/v2/models/b/versions/", None, id="no version"),
        pytest.param("GET", "/v2/models/b/versions/1/", None, id="a slash after a version"),
        pytest.param("POST", "/v1/models/a/b:predict", None, id="two names"),
        pytest.param("POST", "/v1/models/:predict", None, id="V1 without a name"),
        pytest.param("GET", "/v2/health/live", None, id="health"),
        pytest.param("GET", "/V2/models/b", None, id="case matters"),
    ],
)
def test_a_path_names_a_bot_or_does_not(method: str, path: str, expected: Target | None) -> None:
    """Exactly the paths of the protocol are those of a bot."""
    assert expected == read_target(method, path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        pytest.param("GET", "/v2/models/b/infer", ("POST",), id="GET infer"),
        pytest.param("POST", "/v2/models/b", ("GET", "HEAD"), id="POST metadata"),
        pytest.param("GET", "/v1/models/b:predict", ("POST",), id="GET predict"),
    ],
)
def test_another_method_is_named(method: str, path: str, allowed: tuple[str, ...]) -> None:
    """The error says which methods there are."""
    with pytest.raises(WrongMethodError) as caught:
        read_target(method, path)
    assert allowed == caught.value.allowed


OURS = (b"x-botshard-epoch", b"3")
JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain")
LATER = (b"retry-after", b"1")


@pytest.mark.parametrize(
    ("status", "headers", "verdict"),
    [
        pytest.param(200, [], Verdict.FORWARD, id="200"),
        pytest.param(302, [], Verdict.FORWARD, id="302"),
        pytest.param(400, [OURS, JSON], Verdict.FORWARD, id="a pool's 400"),
        pytest.param(400, [JSON], Verdict.WRAP, id="another's 400"),
        pytest.param(404, [OURS, JSON], Verdict.NOT_FOUND, id="a pool's 404"),
        pytest.param(404, [JSON], Verdict.NOT_FOUND, id="a model server's 404"),
        pytest.param(404, [], Verdict.UNROUTED, id="a gateway's 404"),
        pytest.param(421, [OURS, JSON], Verdict.MISDIRECTED, id="421"),
        pytest.param(502, [TEXT], Verdict.NO_REPLICA, id="queue-proxy's 502"),
        pytest.param(503, [TEXT], Verdict.NO_REPLICA, id="Envoy's 503"),
        pytest.param(503, [], Verdict.NO_REPLICA, id="an empty 503"),
        pytest.param(503, [TEXT, LATER], Verdict.WRAP, id="503 with Retry-After"),
        pytest.param(503, [JSON], Verdict.WRAP, id="a model server's 503"),
        pytest.param(503, [OURS, JSON], Verdict.FORWARD, id="a pool's 503: not ready"),
        pytest.param(503, [OURS, JSON, LATER], Verdict.FORWARD, id="a pool's 503: failed to load"),
        pytest.param(504, [TEXT], Verdict.WRAP, id="queue-proxy's 504"),
    ],
)
def test_an_answer_means_what_its_source_meant(
    status: int, headers: list[tuple[bytes, bytes]], verdict: Verdict
) -> None:
    """Status and origin together decide."""
    assert verdict is judge(status, read_answer_head(headers))


def _pauses(cause: Cause, *, other_pools: int = 0) -> list[float]:
    attempts = Attempts()
    pauses = []
    while (pause_s := attempts.pause_after(PoolName("p"), cause, other_pools=other_pools)) is not None:
        pauses.append(pause_s)
    return pauses


@pytest.mark.parametrize(
    ("cause", "tries"),
    [
        pytest.param(Cause.CONNECT, 7, id="connect"),
        pytest.param(Cause.NO_REPLICA, 7, id="no replica"),
        pytest.param(Cause.STALE, 1, id="stale"),
        pytest.param(Cause.LOST, 2, id="lost"),
        pytest.param(Cause.MISDIRECTED, 1, id="misdirected"),
        pytest.param(Cause.NOT_FOUND, 1, id="not found"),
        pytest.param(Cause.UNROUTED, 2, id="unrouted"),
    ],
)
def test_tries_are_bounded_by_what_they_can_harm(cause: Cause, tries: int) -> None:
    """Harmless tries go on over the two seconds that a gateway needs; harmful ones end soon."""
    pauses = _pauses(cause)
    assert tries == len(pauses)
    assert sorted(pauses) == pauses
    if tries == 7:
        assert 2.0 < sum(pauses) < 3.0


def test_mixed_causes_are_bounded_too() -> None:
    """A request that fails in every way there is ends after seven tries."""
    attempts = Attempts()
    causes = list(Cause) * 5
    pauses = [attempts.pause_after(PoolName("p"), cause, other_pools=0) for cause in causes]
    assert sum(1 for pause in pauses if pause is not None) <= 7


def test_a_pool_that_was_not_tried_yet_is_tried_at_once() -> None:
    """Pauses are for coming back."""
    assert _pauses(Cause.CONNECT, other_pools=1) == [0.0] * 7
