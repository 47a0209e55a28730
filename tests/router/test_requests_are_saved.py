"""Requests that a plain proxy would lose, and those that must not be tried again."""

from __future__ import annotations

import asyncio
import socket

import pytest

from router.limits import Limits
from tests.router.fleet import SLEEPY, Fleet, pool
from tests.router.running import running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain, upstream
from tests.waiting import aeventually

GATEWAY_502 = plain(b"dial tcp 127.0.0.1:8080: connect: connection refused", 502, content_type="text/plain")
GATEWAY_503 = plain(b"upstream connect error or disconnect/reset before headers", 503, content_type="text/plain")
GATEWAY_404 = b"HTTP/1.1 404 Not Found\r\nserver: envoy\r\ncontent-length: 0\r\n\r\n"
BODY = b'{"inputs":[1]}'


def _closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"http://127.0.0.1:{found.getsockname()[1]}"


async def test_a_kept_connection_that_the_pool_has_closed_costs_nothing(fleet: Fleet) -> None:
    """The pool ends the second request's connection without a byte: it is sent again on a fresh one."""

    async def answer(call: Call) -> None:
        if call.nth == 1:
            await call.write(infer_answer("bot"))
        else:
            call.reset()

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            for _ in range(3):
                assert (await router.infer("bot", BODY)).status_code == 200
            retries = await router.metric("botshard_router_retries_total", cause="stale")
    assert [call.body for call in server.calls] == [BODY] * 5
    assert retries == 2


@pytest.mark.parametrize("bad", [GATEWAY_502, GATEWAY_503], ids=["502", "503"])
async def test_a_gateway_without_a_replica_is_asked_again(fleet: Fleet, bad: bytes) -> None:
    """The answers that a gateway gives for two seconds after a pod's end never reach the client."""

    async def answer(call: Call) -> None:
        await call.write(bad if len(server.calls) < 5 else infer_answer("bot"))

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            response = await router.infer("bot", BODY)
    assert response.status_code == 200
    assert [call.body for call in server.calls] == [BODY] * 5


@pytest.mark.parametrize("key", [None, SLEEPY], ids=["realtime", "sleepy"])
async def test_the_next_pool_answers_at_once_where_one_is_dead(fleet: Fleet, key: object) -> None:
    """A refused connection sends the request to the shard's other pool without a pause."""
    async with upstream(infer_answer("bot")) as server:
        if key is None:
            fleet.publish_bots("bot")
            fleet.publish_table(_closed_port(), server.url)
        else:
            fleet.publish_bots("bot", key=SLEEPY)
            fleet.publish_table(sleepy=[_closed_port(), server.url])
        async with running_router(fleet) as router:
            started_s = asyncio.get_running_loop().time()
            responses = await asyncio.gather(*(router.infer("bot") for _ in range(5)))
            took_s = asyncio.get_running_loop().time() - started_s
    assert [response.status_code for response in responses] == [200] * 5
    assert took_s < 1.0


async def test_a_pool_that_comes_back_within_a_second_loses_nothing(fleet: Fleet) -> None:
    """All requests that meet a dead pool wait for its return."""
    server = Upstream(lambda call: call.write(infer_answer("bot")))
    await server.start()
    fleet.publish_bots("bot")
    fleet.publish_table(server.url)
    async with running_router(fleet) as router:
        assert (await router.infer("bot")).status_code == 200
        await server.stop()
        asked = [asyncio.create_task(router.infer("bot")) for _ in range(20)]
        await asyncio.sleep(0.6)  # the outage itself
        await server.start()
        responses = await asyncio.gather(*asked)
    await server.stop()
    assert [response.status_code for response in responses] == [200] * 20


async def test_a_request_that_ends_replicas_is_given_up_soon(fleet: Fleet) -> None:
    """A connection lost after the request was sent allows two more tries, not seven."""

    async def answer(call: Call) -> None:
        call.reset()

    fleet.publish_bots("bot")
    async with upstream(answer) as one, upstream(answer) as two:
        fleet.publish_table(one.url, two.url)
        async with running_router(fleet) as router:
            response = await router.infer("bot")
    assert response.status_code == 502
    assert "pool" in response.json()["error"]
    assert len(one.calls) + len(two.calls) == 3


async def test_an_answer_that_breaks_off_is_never_begun_again(fleet: Fleet) -> None:
    """After the first byte to the client the connection is cut, so that nobody takes half an answer for a whole."""

    async def answer(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nx-botshard-epoch: 1\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        call.reset()

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            got = await reader.read()
            writer.close()
            cut = await router.metric("botshard_router_requests_total", outcome="cut")
    assert got.endswith(b"half")
    assert len(server.calls) == 1
    assert cut == 1


async def test_a_misdirected_request_follows_the_new_table(fleet: Fleet) -> None:
    """On 421 the table is read at once, though the next poll is far away, and the bot's new pool answers."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot", epoch=2)) as new:

        async def answer(call: Call) -> None:
            fleet.publish_table(new.url)
            await call.write(plain(b'{"error":"not mine"}', 421, x_botshard_epoch="2"))

        async with upstream(answer) as old:
            fleet.publish_table(old.url)
            async with running_router(fleet, poll_interval_s=60.0) as router:
                response = await router.infer("bot", BODY)
                epoch = await router.metric("botshard_router_table_epoch")
                misdirected = await router.metric("botshard_router_misdirected_total")
    assert response.status_code == 200
    assert [call.body for call in new.calls] == [BODY]
    assert [call.headers["x-botshard-epoch"] for call in new.calls] == ["2"]
    assert (epoch, misdirected) == (2, 1)


async def test_a_misdirected_request_follows_its_bot_to_another_family(fleet: Fleet) -> None:
    """The old pool reads a bot's new version before this router does: on its 421 the catalog is read too."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot", epoch=1)) as new:

        async def answer(call: Call) -> None:
            fleet.publish_bots("bot", key=SLEEPY, version=2)
            await call.write(plain(b'{"error":"not mine"}', 421, x_botshard_epoch="1"))

        async with upstream(answer) as old:
            fleet.publish_table(old.url, sleepy=[new.url])
            async with running_router(fleet, poll_interval_s=60.0) as router:
                response = await router.infer("bot", BODY)
    assert response.status_code == 200
    assert (len(old.calls), [call.body for call in new.calls]) == (1, [BODY])


async def test_many_misdirected_requests_read_the_table_once(fleet: Fleet) -> None:
    """A hundred 421 at the same time do not become a hundred reads of the store."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot", epoch=2)) as new:
        fleet.publish_table(_closed_port())

        async def answer(call: Call) -> None:
            await call.write(plain(b'{"error":"not mine"}', 421, x_botshard_epoch="2"))

        async with upstream(answer) as old:
            fleet.publish_table(old.url)
            async with running_router(fleet, poll_interval_s=60.0) as router:
                reads = 0
                follower = router.parts.following._table
                refresh = follower.refresh

                def counted() -> bool:
                    nonlocal reads
                    reads += 1
                    return refresh()

                follower.refresh = counted  # type: ignore[method-assign]
                fleet.publish_table(new.url)
                responses = await asyncio.gather(*(router.infer("bot") for _ in range(100)))
    assert [response.status_code for response in responses] == [200] * 100
    assert reads < 10


async def test_a_pool_that_keeps_refusing_its_own_bot_is_503(fleet: Fleet) -> None:
    """421 twice, with no other table in the store: the client is told to come back."""
    fleet.publish_bots("bot")
    async with upstream(plain(b'{"error":"not mine"}', 421, x_botshard_epoch="1")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            response = await router.infer("bot")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert len(server.calls) == 2


async def test_a_newer_epoch_in_any_answer_makes_the_router_look(fleet: Fleet) -> None:
    """A pool that is ahead tells so by its answers; the table is read in the background."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot", epoch=2)) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, poll_interval_s=60.0) as router:
            fleet.publish_table(server.url)
            assert (await router.infer("bot")).status_code == 200

            async def has_it() -> bool:
                return await router.metric("botshard_router_table_epoch") == 2

            assert await aeventually(has_it)


async def test_a_pool_that_does_not_know_a_new_bot_yet_is_asked_again(fleet: Fleet) -> None:
    """A pool's 404 for a bot that is live in the catalog is its being behind."""

    async def answer(call: Call) -> None:
        known = len(server.calls) > 1
        await call.write(infer_answer("bot") if known else plain(b'{"error":"no bot"}', 404, x_botshard_epoch="1"))

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            response = await router.infer("bot")
    assert response.status_code == 200
    assert len(server.calls) == 2


async def test_a_pools_404_for_a_retired_bot_is_the_answer(fleet: Fleet) -> None:
    """Where the catalog in the store agrees with the pool, nothing is tried again."""
    fleet.publish_bots("bot")
    async with upstream(plain(b'{"error":"no bot"}', 404, x_botshard_epoch="1")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, poll_interval_s=60.0) as router:
            fleet.publish_bots("bot", retired=True)
            response = await router.infer("bot")
            again = await router.infer("bot")
    assert (response.status_code, response.json()) == (404, {"error": "no bot"})
    assert again.status_code == 404
    assert len(server.calls) == 1


async def test_a_gateway_that_does_not_know_the_pool_is_passed_by(fleet: Fleet) -> None:
    """An empty 404 is a gateway's, never the client's answer: the shard's other pool is asked."""
    fleet.publish_bots("bot")
    async with upstream(GATEWAY_404) as gone, upstream(infer_answer("bot")) as there:
        fleet.publish_table(gone.url, there.url)
        async with running_router(fleet) as router:
            response = await router.infer("bot")
            fleet.publish_table(gone.url)
            await aeventually(lambda: _epoch_is(router.metric, 2))
            alone = await router.infer("bot")
    assert response.status_code == 200
    assert alone.status_code == 503
    assert pool(0) in alone.json()["error"]


async def _epoch_is(metric: object, epoch: int) -> bool:
    assert callable(metric)
    return bool(await metric("botshard_router_table_epoch") == epoch)


async def test_a_pools_own_503_is_the_answer(fleet: Fleet) -> None:
    """A bot that failed to load is not tried elsewhere; reason and Retry-After reach the client."""
    fleet.publish_bots("bot")
    failed = plain(b'{"error":"bot failed to load: no such file"}', 503, retry_after="7", x_botshard_epoch="1")
    async with upstream(failed) as server, upstream(infer_answer("bot")) as other:
        fleet.publish_table(server.url, other.url)
        async with running_router(fleet) as router:
            response = await router.infer("bot")
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert "no such file" in response.json()["error"]
    assert len(other.calls) == 0


async def test_connections_past_the_bound_wait_and_past_that_are_shed(fleet: Fleet) -> None:
    """With one connection and one place to wait, the third request is told to come back."""
    fleet.publish_bots("bot")
    release = asyncio.Event()

    async def answer(call: Call) -> None:
        await release.wait()
        await call.write(infer_answer("bot"))

    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        limits = Limits(max_connections_per_pool=1, max_waiting_per_pool=1)
        async with running_router(fleet, limits=limits) as router:
            first = asyncio.create_task(router.infer("bot"))
            second = asyncio.create_task(router.infer("bot"))

            async def both_inside() -> bool:
                return sum(state.outstanding for state in router.parts.pools) == 2

            assert await aeventually(both_inside)
            third = await router.infer("bot")
            release.set()
            assert [response.status_code for response in await asyncio.gather(first, second)] == [200, 200]
    assert (third.status_code, third.headers["retry-after"]) == (503, "1")
    assert server.connections == 1
