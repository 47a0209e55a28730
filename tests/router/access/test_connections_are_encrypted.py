"""TLS on both sides, with real certificates: who is believed, what changes without a restart, what does not work."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from botshard.sharding.errors import InvalidDocumentError
from router.access.settings import TlsSettings
from router.access.tls import client_side, server_side
from tests.router.access.certificates import Authority, Pair
from tests.router.fleet import Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain, upstream
from tests.waiting import aeventually


def files_of(pair: Pair, **more: str) -> TlsSettings:
    """Settings with a certificate for clients."""
    return TlsSettings(cert=str(pair.cert), key=str(pair.key), **more)


async def _serial(port: int, trust: ssl.SSLContext) -> int:
    """Of the certificate that the router shows."""
    from cryptography import x509

    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="127.0.0.1")
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
    del reader
    return x509.load_der_x509_certificate(shown).serial_number


async def test_clients_come_over_tls_and_pools_are_told(fleet: Fleet, tmp_path: Path) -> None:
    """`Forwarded` says https; small and large bodies go both ways; the application is reached the same way."""
    authority = Authority(tmp_path)
    large = bytes(range(256)) * 8192
    fleet.publish_bots("bot")

    async def answer(call: Call) -> None:
        await call.write(plain(large if len(call.body) > 2 else b"{}"))

    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        trust = authority.trusting()
        async with running_router(fleet, tls=files_of(authority.issue()), trust=trust) as router:
            assert (await router.infer("bot", b"{}")).status_code == 200
            assert (await router.infer("bot", large)).content == large
            assert (await router.client.get("/v2/models")).json() == {"models": ["bot"]}
            with pytest.raises(httpx.HTTPError):
                async with httpx.AsyncClient() as stranger:
                    await stranger.get(f"http://127.0.0.1:{router.port}/v2")
    assert server.calls[0].headers["forwarded"].endswith(";proto=https")
    assert server.calls[1].body == large


async def test_old_protocols_are_refused(fleet: Fleet, tmp_path: Path) -> None:
    """TLS 1.2 is the oldest."""
    authority = Authority(tmp_path)
    async with running_router(fleet, tls=files_of(authority.issue()), trust=authority.trusting()) as router:
        modern = authority.trusting()
        modern.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await _serial(router.port, modern)
        old = authority.trusting()
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, OSError)):
            await _serial(router.port, old)


async def test_a_new_certificate_is_shown_without_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    """Connections that are open stay; half a pair is refused and the last good one is shown on."""
    authority = Authority(tmp_path)
    first = authority.issue()
    async with running_router(fleet, tls=files_of(first), trust=authority.trusting()) as router:
        assert await _serial(router.port, authority.trusting()) == first.serial
        assert (await router.client.get("/v2")).status_code == 200
        good = first.key.read_text()
        first.key.write_text(good[:100])

        async def problem() -> str:
            return str((await router.client.get("/admin/table")).json()["problems"].get("ROUTER_TLS_CERT", ""))

        assert "leaf.key" in await aeventually(problem)
        assert await _serial(router.port, authority.trusting()) == first.serial
        second = authority.issue()

        async def is_shown() -> bool:
            return await _serial(router.port, authority.trusting()) == second.serial

        await aeventually(is_shown)
        assert await problem() == ""


async def test_clients_need_a_certificate_where_an_authority_is_set(fleet: Fleet, tmp_path: Path) -> None:
    """One of that authority and of no other; when the authority's file changes, so does who gets in."""
    authority, theirs, others = Authority(tmp_path), Authority(tmp_path, "theirs"), Authority(tmp_path, "others")
    good, bad = theirs.issue("client", stem="good"), others.issue("client", stem="bad")
    accepted = tmp_path / "accepted.pem"
    accepted.write_bytes(theirs.file.read_bytes())

    async def status(router: RunningRouter, pair: Pair | None) -> int:
        try:
            async with httpx.AsyncClient(verify=authority.trusting(pair)) as client:
                return (await client.get(f"{router.url}/v2")).status_code
        except (httpx.HTTPError, ssl.SSLError):
            return 0

    tls = files_of(authority.issue(), client_ca=str(accepted))
    async with running_router(fleet, tls=tls, trust=authority.trusting(good)) as router:
        assert [await status(router, pair) for pair in (good, bad, None)] == [200, 0, 0]
        accepted.write_bytes(others.file.read_bytes())

        async def is_turned() -> bool:
            return [await status(router, pair) for pair in (good, bad, None)] == [0, 200, 0]

        await aeventually(is_turned)


async def test_a_last_answer_and_a_client_that_leaves(fleet: Fleet, tmp_path: Path) -> None:
    """Over TLS no side is closed alone: a refused body is answered and ended, one who leaves frees the pool."""
    authority = Authority(tmp_path)
    fleet.publish_bots("bot")
    arrived = asyncio.Event()
    calls: list[Call] = []

    async def never(call: Call) -> None:
        calls.append(call)
        arrived.set()
        await call.gone.wait()

    async with upstream(never) as server:
        fleet.publish_table(server.url)
        trust = authority.trusting()
        async with running_router(fleet, tls=files_of(authority.issue()), trust=trust) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port, ssl=trust)
            writer.write(
                b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 9999
            )
            told = await asyncio.wait_for(reader.read(), 10)
            assert b" 413 " in told
            assert b"connection: close" in told
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
            _, leaver = await asyncio.open_connection("127.0.0.1", router.port, ssl=trust)
            leaver.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            await asyncio.wait_for(arrived.wait(), 10)
            leaver.close()
            await asyncio.wait_for(calls[0].gone.wait(), 10)


async def test_who_says_nothing_during_a_handshake_is_left(fleet: Fleet, tmp_path: Path) -> None:
    """What is no TLS ends the connection at once, and others are served meanwhile."""
    authority = Authority(tmp_path)
    async with running_router(fleet, tls=files_of(authority.issue()), trust=authority.trusting()) as router:
        _, silent = await asyncio.open_connection("127.0.0.1", router.port)
        reader, rude = await asyncio.open_connection("127.0.0.1", router.port)
        rude.write(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in await asyncio.wait_for(reader.read(), 10)
        assert (await router.client.get("/v2")).status_code == 200
        for writer in (silent, rude):
            writer.close()


class TlsUpstream(Upstream):
    """A pool that shows a certificate and wants one."""

    def __init__(self, context: ssl.SSLContext) -> None:
        async def answer(call: Call) -> None:
            self.shown.append(call.writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            await call.write(infer_answer("bot"))

        super().__init__(answer)
        self.shown: list[bytes] = []
        self._context = context

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    async def start(self, listening: socket.socket | None = None) -> None:
        found = listening or socket.create_server(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._accept, sock=found, limit=1 << 20, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def tls_upstream(server_pair: Pair, client_ca: Path) -> AsyncIterator[TlsUpstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_pair.cert, server_pair.key)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    server = TlsUpstream(context)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_pools_are_asked_over_tls_with_our_certificate(fleet: Fleet, tmp_path: Path) -> None:
    """The pool sees it; without it, or with a pool of another authority, there is no connection: 503."""
    ours, pools, others = Authority(tmp_path, "ours"), Authority(tmp_path, "pools"), Authority(tmp_path, "others")
    pair = ours.issue("router", stem="router")
    tls = TlsSettings(upstream_ca=str(pools.file), upstream_cert=str(pair.cert), upstream_key=str(pair.key))
    fleet.publish_bots("bot")
    async with tls_upstream(pools.issue(stem="pool"), ours.file) as server:
        fleet.publish_table(server.url, request_timeout_s=2.0)
        async with running_router(fleet, tls=tls) as router:
            assert (await router.infer("bot")).status_code == 200
        assert server.shown == [ssl.PEM_cert_to_DER_cert(pair.cert.read_text())]
        for wrong in (TlsSettings(upstream_ca=str(pools.file)), TlsSettings(upstream_ca=str(others.file))):
            async with running_router(fleet, tls=wrong) as router:
                assert (await router.infer("bot")).status_code in (502, 503, 504)
    assert len(server.shown) == 1


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Absent, not PEM, a key of another certificate: the setting is refused before anything listens."""
    authority = Authority(tmp_path)
    first, second = authority.issue(stem="first"), authority.issue(stem="second")
    absent = str(tmp_path / "absent")
    for cert, key in ((absent, absent), (str(first.key), str(first.key)), (str(first.cert), str(second.key))):
        with pytest.raises(InvalidDocumentError, match="ROUTER_TLS_CERT"):
            server_side(TlsSettings(cert=cert, key=key))
    with pytest.raises(InvalidDocumentError, match="ROUTER_UPSTREAM_CA"):
        client_side(TlsSettings(upstream_ca=absent))
    assert server_side(TlsSettings()) is None
    assert client_side(TlsSettings()) is None
