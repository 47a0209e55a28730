"""The first defence: neither one bot nor all of them pile up more requests than a replica may hold."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import inf
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from botshard.notify import Notifier
from botshard.oip.rest import InferenceRequest
from botshard.oip.tensors import Tensor
from botshard.rpc.codes import Code
from botshard.sharding.catalog import Version
from botshard.sharding.ids import BotId
from kserve_runtimes.core.asked import Call, Times
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import BotQueueFullError, QueueFullError, TooLateError, UnknownBotError
from kserve_runtimes.core.follower import Follower
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.core.metrics import Metrics
from kserve_runtimes.core.notices import LoadNotices
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.core.queues import QueueBounds
from kserve_runtimes.core.residents import Residents
from kserve_runtimes.serving.problems import problem_of
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.conftest import Served
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import aeventually, eventually

_REQUEST = b"POST /v2/models/%b/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
_BODY = orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})


_HEALTH = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"


def _at_once(replica: Replica, *bots: bytes) -> list[bytes]:
    """Answers to requests on a connection each that the replica finds all at once: it stands still until they came."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", replica.port), 20)) for _ in bots]
        for client in clients:  # each is accepted, so that what it sends is read in the same turn as the others'
            client.sendall(_HEALTH)
            _receive(client)
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            eventually(lambda: _is_stopped(replica.pid))  # a signal takes its time
            for client, bot in zip(clients, bots, strict=True):
                client.sendall(_REQUEST % (bot, len(_BODY), _BODY))
        finally:
            os.kill(replica.pid, signal.SIGCONT)
        return [_receive(client) for client in clients]


def _is_stopped(pid: int) -> bool:
    """Whether no thread of the process runs."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def _receive(client: socket.socket) -> bytes:
    """One answer, from its status on."""
    received = b""
    while not received.endswith(b"}"):
        piece = client.recv(65536)
        assert piece
        received += piece
    return received.removeprefix(b"HTTP/1.1 ")


def _statuses(answers: list[bytes]) -> list[int]:
    """Sorted: the replica may read connections in any order."""
    return sorted(int(answer[:3]) for answer in answers)


@pytest.mark.parametrize("group", ["realtime", "non-realtime"])
def test_a_bot_has_its_own_bound(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path, group: str) -> None:
    """Past it 429 and Retry-After, its neighbour is served; whether it waits for the loop, a thread or its load."""
    fleet.publish(*[linear_folder(tmp_path, bot, group=group, seed=1) for bot in ("busy", "calm")])
    pool = pool_of(group, "torch")
    fleet.publish_table({key_of(group, "torch"): [pool]})
    with Replica(torch_zygote, fleet, pool, RUNTIME_BOT_QUEUE="3") as replica:
        replica.wait_ready()
        for _ in range(2):
            answers = _at_once(replica, *[b"busy"] * 10, b"calm")
            assert _statuses(answers) == [200] * 4 + [429] * 7
            assert answers[-1].startswith(b"200")
            refused = max(answers)
            assert b"\r\nretry-after: 1\r\n" in refused
            assert b"bot 'busy' has 3 requests waiting or running here" in refused
            for _ in range(20):
                assert replica.multiply("busy").status == 200  # quick from here on: it runs on the loop
        assert replica.get("/pool/bots/busy").json["costs"]["runsOnLoop"]
        assert replica.metric("botshard_in_flight") == 0


def test_a_replica_has_a_bound_for_all(served: Served, torch_zygote: Zygote) -> None:
    """Past it 503 and Retry-After, for whichever bot; afterwards all is as before."""
    with Replica(torch_zygote, served.fleet, served.pool, replica="r-2", RUNTIME_QUEUE="4") as replica:
        replica.wait_ready()
        for _ in range(3):
            answers = _at_once(replica, *[b"linear", b"exported"] * 5)
            assert _statuses(answers) == [200] * 4 + [503] * 6
            assert b"\r\nretry-after: 1\r\n" in max(answers)
            assert b"this replica has 4 requests waiting or running" in max(answers)
        for _ in range(8):
            assert replica.multiply("broken").status == 503
            assert replica.multiply("nobody").status == 404
        assert _statuses(_at_once(replica, *[b"linear"] * 4)) == [200] * 4, "who failed has left the queue"


def test_clients_that_leave_while_a_bot_is_loaded_leave_the_queue(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """Whoever waits for a load and goes away makes room for others."""
    fleet.publish(linear_folder(tmp_path, "one", group="non-realtime", seed=1))
    pool = pool_of("non-realtime", "torch")
    fleet.publish_table({key_of("non-realtime", "torch"): [pool]})
    with Replica(torch_zygote, fleet, pool, RUNTIME_QUEUE="2") as replica:
        replica.wait_ready()
        for _ in range(5):
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", replica.port)) as client:
                    client.sendall(_REQUEST % (b"one", len(_BODY), _BODY))
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            replica.post("/v2/repository/models/one/unload", {})
        statuses = {_statuses(_at_once(replica, b"one"))[0] for _ in range(5)}
        assert 200 in statuses
        assert _statuses(_at_once(replica, b"one", b"one")) == [200, 200]


def test_one_bad_artifact_is_not_fetched_a_thousand_times(served: Served) -> None:
    """Under load its failure is remembered: everybody gets the reason and when to come again, nobody causes a load."""
    replica = served.replica

    def ask(_: int) -> None:
        answer = replica.multiply("broken")
        assert answer.status == 503
        assert "cannot be loaded" in answer.error
        assert 1 <= int(answer.headers["retry-after"]) <= 60

    before = replica.metric("botshard_loads_total", outcome="failed")
    with ThreadPoolExecutor(16) as clients:
        list(clients.map(ask, range(1000)))
    # It doubles its pause from a second on: half a minute of load is five loads.
    assert replica.metric("botshard_loads_total", outcome="failed") - before <= 5
    failure = replica.get("/pool/bots/broken").json["failure"]
    assert failure["attempts"] >= 1
    assert 0 <= failure["retryInS"] <= 60
    assert failure["reason"]


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after_s"),
    [
        pytest.param(
            BotQueueFullError(BotId("a"), 256, retry_after_s=2.1), 429, "RESOURCE_EXHAUSTED", 3, id="a bot's bound"
        ),
        pytest.param(QueueFullError(1024, retry_after_s=0.02), 503, "UNAVAILABLE", 1, id="a second at least"),
        pytest.param(QueueFullError(1024, retry_after_s=900.0), 503, "UNAVAILABLE", 30, id="half a minute at most"),
        pytest.param(TooLateError(wait_s=4.0, left_s=1.0), 503, "UNAVAILABLE", 4, id="too late"),
    ],
)
def test_the_hint_is_when_what_waits_is_done(error: Exception, status: int, code: str, retry_after_s: int) -> None:
    """In whole seconds, over both protocols."""
    problem = problem_of(error)
    assert (problem.status, problem.code, problem.retry_after_s) == (
        status,
        Code[code],
        retry_after_s,
    )


class _Leaving:
    """A request whose client goes in the very turn in which it came."""

    is_small = True
    deadline_s = inf

    def __init__(self, bot: str) -> None:
        self.call = Call(bot)
        self.is_over = False
        self.error: Exception | None = None

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        raise AssertionError("nobody has this bot")

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> object:
        raise AssertionError("nobody has this bot")

    def answered(self, encoded: object, bot: LoadedBot, times: Times, /) -> None:
        raise AssertionError("nobody has this bot")

    def failed(self, error: Exception, /) -> None:
        self.error = error


def _no_load(bot_id: BotId, version: Version, /) -> LoadedBot:
    raise AssertionError(f"{bot_id} {version} is not to be loaded")


async def test_who_leaves_at_once_takes_no_place_for_ever(fleet: Fleet) -> None:
    """A request that is given up before anything of it has run is not counted among those that wait."""
    name = pool_of("realtime", "torch")
    fleet.publish_table({key_of("realtime", "torch"): [name]})
    metrics = Metrics(CollectorRegistry())
    with ThreadPoolExecutor(1) as threads:
        follower = Follower(fleet.store, pool=name, metrics=metrics)
        residents = Residents(_no_load, executor=threads, loaders=1, metrics=metrics)
        notices = LoadNotices(Notifier({}))
        pool = Pool(
            name=name, follower=follower, residents=residents, notices=notices, metrics=metrics, request_timeout_s=None
        )
        following = asyncio.create_task(pool.follow(0.05, expected=dict))

        async def is_complete() -> bool:
            return pool.is_complete

        await aeventually(is_complete)
        inference = Inference(pool, threads, threads=1, bounds=QueueBounds(bot_requests=2, requests=2))
        for _ in range(5):
            getting = inference.submit(_Leaving("nobody"))
            assert getting is not None
            getting.cancel()
            await asyncio.wait([getting])
        stays = _Leaving("nobody")
        getting = inference.submit(stays)
        assert getting is not None
        await getting
        assert isinstance(stays.error, UnknownBotError)
        following.cancel()
        await asyncio.wait([following])
        follower.close()
