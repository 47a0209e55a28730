"""Connections to one address: pools have their shares, take turns, and have nothing of each other's errors."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest

from botshard.sharding.errors import CallerError
from botshard.sharding.hashing import family_id
from botshard.sharding.ids import PoolName
from botshard.sharding.routing import PoolRoute
from router.connections import Connections, Place
from router.errors import ConnectError, LostError, OverloadedError
from router.limits import Limits
from router.origins import Address, Origin
from router.pools import Pools
from router.upstream import Connection
from tests.router.fleet import REALTIME, pool
from tests.router.upstreams import Call, plain, upstream
from tests.servers import free_port
from tests.waiting import aeventually


class _News(asyncio.Event):
    def came(self) -> None:
        self.set()


async def _silent(call: Call) -> None:
    await call.gone.wait()


def _origins(url: str, *names: str, limits: Limits) -> tuple[Connections, list[Origin]]:
    addresses = [Address.of(f"http://{name}.example", url) for name in names]
    connections = Connections(addresses[0].place, limits, tls=ssl.create_default_context)
    connections.share(among=len(names))
    return connections, [
        Origin(name, address, limits, connections) for name, address in zip(names, addresses, strict=True)
    ]


async def _ask(origin: Origin) -> tuple[Connection, int]:
    connection = origin.idle() or await origin.acquire()
    news = _News()
    connection.begin(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"", news)
    while not connection.finished and connection.error is None:
        await news.wait()
        news.clear()
    return connection, connection.status


@pytest.mark.parametrize(
    ("url", "gateway", "place", "authority"),
    [
        pytest.param("http://a.b", None, Place("a.b", 80, ""), b"a.b", id="a pool's own"),
        pytest.param("http://a.b:81/x", None, Place("a.b", 81, ""), b"a.b:81", id="with port and path"),
        pytest.param("https://a.b", None, Place("a.b", 443, "a.b"), b"a.b", id="TLS"),
        pytest.param("http://a.b", "http://g", Place("g", 80, ""), b"a.b", id="a gateway"),
        pytest.param("https://a.b", "http://g:81", Place("g", 81, ""), b"a.b", id="a gateway without TLS"),
        pytest.param("http://a.b", "https://g", Place("g", 443, "a.b"), b"a.b", id="a gateway with TLS"),
        pytest.param("http://a.b", "http://[::1]:81", Place("::1", 81, ""), b"a.b", id="IPv6"),
    ],
)
def test_an_address_is_where_to_connect_and_as_whose(
    url: str, gateway: str | None, place: Place, authority: bytes
) -> None:
    """Connections are shared where place and certificate are the same; Host is the pool's."""
    address = Address.of(url, gateway)
    assert (address.place, address.authority) == (place, authority)
    assert (address.is_gateway, address.tls) == (gateway is not None, bool(place.server_name))


@pytest.mark.parametrize("gateway", ["http://g:99999", "ftp://g", "http://"])
def test_what_cannot_be_connected_to_is_refused(gateway: str) -> None:
    """With the URL in the message."""
    with pytest.raises(CallerError, match=gateway.partition(":")[0]):
        Address.of("http://a", gateway)


async def test_the_connection_of_one_pool_serves_the_next() -> None:
    """In sequence, one connection is enough for all."""
    async with upstream(plain(b"x")) as server:
        connections, origins = _origins(server.url, "a", "b", "c", limits=Limits())
        for origin in (*origins, *origins):
            connection, status = await _ask(origin)
            assert (status, connection.pool) == (200, origin.address.authority.decode().partition(".")[0])
            origin.release(connection)
        assert (server.connections, connections.open_count) == (1, 1)
        assert [origin.busy_count for origin in origins] == [0, 0, 0]
        connections.close()


async def test_an_error_names_the_pool_of_the_request() -> None:
    """Not the one that the connection was opened for."""

    async def once(call: Call) -> None:
        if call.nth == 1:
            await call.write(plain(b"x"))
        else:
            call.reset()

    async with upstream(once) as server:
        connections, (one, other) = _origins(server.url, "one", "other", limits=Limits())
        connection, _ = await _ask(one)
        one.release(connection)
        connection, _ = await _ask(other)
        assert isinstance(connection.error, LostError)
        assert "pool other" in str(connection.error)
        other.release(connection)
        connections.close()
    connections, (one, _) = _origins(f"http://127.0.0.1:{free_port()}", "one", "other", limits=Limits())
    with pytest.raises(ConnectError, match=r"pool one: no connection to 127\.0\.0\.1"):
        await one.acquire()
    assert (one.busy_count, connections.open_count) == (0, 0)


async def test_a_pool_that_does_not_answer_holds_no_more_than_its_share() -> None:
    """Its requests wait; those of another pool go on."""
    async with upstream(_silent) as server:
        limits = Limits(max_connections_per_pool=2, max_connections_per_gateway=3)
        connections, (stuck, other) = _origins(server.url, "stuck", "other", limits=limits)
        held = [await stuck.acquire(), await stuck.acquire()]
        waiting = asyncio.create_task(stuck.acquire())
        free = await other.acquire()
        assert (stuck.idle(), other.idle(), connections.open_count) == (None, None, 3)
        stuck.release(held[0])
        held[0] = await waiting
        for origin, connection in ((stuck, held[0]), (stuck, held[1]), (other, free)):
            origin.release(connection)
        assert connections.open_count == 0
        connections.close()


async def test_pools_take_turns_when_there_is_no_room() -> None:
    """A pool with many requests that wait does not go before one with few."""
    async with upstream(_silent) as server:
        limits = Limits(max_connections_per_pool=8, max_connections_per_gateway=1)
        connections, (many, few) = _origins(server.url, "many", "few", limits=limits)
        held = await many.acquire()
        served: list[str] = []

        async def one(origin: Origin, name: str) -> None:
            connection = await origin.acquire()
            served.append(name)
            origin.release(connection)

        tasks = [asyncio.create_task(one(many, "many")) for _ in range(4)]
        await aeventually(_is(lambda: many.has_waiting))
        tasks += [asyncio.create_task(one(few, "few")) for _ in range(2)]
        await aeventually(_is(lambda: few.has_waiting))
        many.release(held)
        await asyncio.gather(*tasks)
        assert served == ["many", "few", "many", "few", "many", "many"]
        connections.close()


async def test_those_who_wait_are_bounded_and_may_leave() -> None:
    """Past the bound 503 at once; who gives up leaves its turn to the next."""
    async with upstream(_silent) as server:
        limits = Limits(max_connections_per_pool=1, max_connections_per_gateway=1, max_waiting_per_pool=2)
        connections, (one, _) = _origins(server.url, "one", "other", limits=limits)
        held = await one.acquire()
        waiting = [asyncio.create_task(one.acquire()) for _ in range(2)]
        await aeventually(_is(lambda: one.has_waiting))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="pool one"):
            await one.acquire()
        waiting[0].cancel()
        one.release(held)
        last = await waiting[1]
        one.release(last)
        assert (one.busy_count, connections.open_count, one.has_waiting) == (0, 0, False)
        connections.close()


async def test_a_pool_that_leaves_the_table_leaves_the_connections_of_others() -> None:
    """The last that leaves takes them along."""
    async with upstream(plain(b"x")) as server:
        pools = Pools(Limits(), gateway=server.url)
        routes = [PoolRoute(pool(n), f"http://p{n}", REALTIME.group, family_id(REALTIME)) for n in range(2)]
        pools.follow({PoolName(route.name): route for route in routes})
        (shared,) = pools.shared
        connection, _ = await _ask(pools[pool(0)].origin)
        pools[pool(0)].origin.release(connection)
        pools.follow({pool(1): routes[1]})
        assert (pools.shared, shared.open_count) == ([], 1)
        again, _ = await _ask(pools[pool(1)].origin)
        assert again is connection
        pools.follow({})
        pools_left = server.connections
        assert (shared.open_count, pools_left) == (1, 1), "its exchange is not over"
        connection.close()
        pools.close()


def _is(check: Callable[[], bool]) -> Callable[[], asyncio.Future[bool]]:
    def asked() -> asyncio.Future[bool]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(check())
        return future

    return asked
