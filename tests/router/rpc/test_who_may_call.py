"""Access control and TLS hold for gRPC as for HTTP."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from botshard.oip.grpc_schema import SERVICE
from router.access.settings import AccessSettings, TlsSettings
from tests.router.access.certificates import Authority
from tests.router.access.test_keys_open_the_router import give_key
from tests.router.fleet import Fleet
from tests.router.rpc.calling import answer_of, infer_message, message_answer, rpc_router
from tests.router.running import running_router
from tests.router.upstreams import upstream
from tests.servers import free_port

ANSWER = message_answer(answer_of("bot", b"yes"))


async def test_a_key_lets_in_to_the_bots_of_its_tenant(fleet: Fleet) -> None:
    """And goes no further; nobody, and another tenant, see nothing. The router's own health is open."""
    _, acme = give_key(fleet)
    _, other = give_key(fleet, "other")
    fleet.publish_bots("bot")
    message = infer_message("bot")
    async with upstream(ANSWER) as server:
        fleet.publish_table(server.url)
        async with rpc_router(fleet, access=AccessSettings(is_on=True)) as rpc:
            ours, theirs = (tuple(key.items()) for key in (acme, other))
            assert await rpc.send(message, metadata=ours) == answer_of("bot", b"yes")
            foreign = await rpc.failure(message, metadata=theirs)
            nobody = await rpc.failure(message)
            index = f"/{SERVICE}/RepositoryIndex"
            listed = await rpc.send(b"", method=index, metadata=ours)
            foreign_list = await rpc.send(b"", method=index, metadata=theirs)
            nobodys_list = await rpc.failure(b"", method=index)
            health = "/grpc.health.v1.Health/Check"
            assert await rpc.send(b"", method=health) == b"\x08\x01"
            nobodys_bot = await rpc.failure(b"\x0a\x03bot", method=health)
    assert (foreign.code, nobody.code, nobodys_list.code) == ("NOT_FOUND", "UNAUTHENTICATED", "UNAUTHENTICATED")
    assert nobodys_bot.code == "UNAUTHENTICATED"
    assert isinstance(listed, bytes)
    assert b"bot" in listed
    assert foreign_list == b""
    [call] = server.calls
    assert "authorization" not in call.headers


@pytest.mark.parametrize("is_mutual", [False, True], ids=["TLS", "mTLS"])
async def test_the_port_has_tls_where_http_has_it(fleet: Fleet, tmp_path: Path, *, is_mutual: bool) -> None:
    """Of the same files; the next connection sees those that replaced them."""
    authority = Authority(tmp_path)
    pair, client = authority.issue(), authority.issue("client", stem="client")
    tls = TlsSettings(cert=str(pair.cert), key=str(pair.key), client_ca=str(authority.file) if is_mutual else "")
    fleet.publish_bots("bot")
    port = free_port()

    async def ask(*, with_client: bool) -> object:
        credentials = grpc.ssl_channel_credentials(
            authority.file.read_bytes(),
            *((client.key.read_bytes(), client.cert.read_bytes()) if with_client else ()),
        )
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as channel:
            try:
                method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
                return await method(infer_message("bot"), timeout=20.0, wait_for_ready=with_client)
            except grpc.aio.AioRpcError as error:
                return error.code().name

    async with upstream(ANSWER) as server:
        fleet.publish_table(server.url)
        trust = authority.trusting(client if is_mutual else None)
        async with running_router(fleet, grpc_port=port, tls=tls, trust=trust):
            assert await ask(with_client=True) == answer_of("bot", b"yes")
            authority.issue()
            assert await ask(with_client=True) == answer_of("bot", b"yes")
            assert await ask(with_client=False) == ("UNAVAILABLE" if is_mutual else answer_of("bot", b"yes"))
    assert server.calls[0].headers["forwarded"].endswith(";proto=https")
