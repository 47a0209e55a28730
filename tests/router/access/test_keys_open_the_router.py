"""API keys on the wire: who gets in, whose bots they see, and that nothing of a key is left anywhere."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import time

import pytest

from botshard.logs import configure_logs
from botshard.sharding.ids import TenantId
from botshard.store.access_keys import AccessKeys, Role, change_keys, decode_keys, new_key
from botshard.store.access_limits import decode_limits
from botshard.store.documents import DocumentFollower
from botshard.store.layout import ACCESS_KEYS, ACCESS_LIMITS
from router.access.gate import Gate
from router.access.keys import KeyRing
from router.access.settings import AccessSettings
from router.errors import UnauthorizedError
from tests.router.fleet import Fleet
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import infer_answer, upstream
from tests.waiting import aeventually

ON = AccessSettings(is_on=True)


def give_key(
    fleet: Fleet, tenant: str = "acme", *roles: Role, expires_in_s: int | None = None
) -> tuple[str, dict[str, str]]:
    """A key's id, and the header that shows it."""
    now_s = int(time.time())
    key, shown = new_key(
        tenant=TenantId(tenant),
        roles=roles or (Role.INFER,),
        now_s=now_s,
        expires_at_s=None if expires_in_s is None else now_s + expires_in_s,
    )
    change_keys(fleet.store, lambda keys: keys.with_key(key))
    return key.id, {"authorization": f"Bearer {shown}"}


async def status_of(router: RunningRouter, bot: str, headers: dict[str, str]) -> int:
    answer = await router.client.post(f"/v2/models/{bot}/infer", content=b"{}", headers=headers)
    return answer.status_code


async def test_a_key_lets_in_by_either_header_and_goes_no_further(fleet: Fleet) -> None:
    """The bot's pool answers; it does not see the key, and other headers as before."""
    _, bearer = give_key(fleet)
    fleet.publish_bots("bot")
    shown = bearer["authorization"].removeprefix("Bearer ")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON) as router:
            for headers in (bearer, {"authorization": f"bearer {shown}"}, {"x-api-key": shown}):
                assert await status_of(router, "bot", {**headers, "x-mine": "stays"}) == 200
    for call in server.calls:
        assert {"authorization", "x-api-key"} & set(call.headers) == set()
        assert call.headers["x-mine"] == "stays"
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        pytest.param({}, "nothing says who asks", id="nothing"),
        pytest.param({"authorization": "Basic dTpw"}, "that form of Authorization", id="basic"),
        pytest.param({"authorization": "Bearer"}, "not known", id="empty"),
        pytest.param({"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}, "not known", id="a token"),
        pytest.param({"x-api-key": "bsk_aaaaaaaaaaaa_" + "a" * 43}, "not known", id="unknown"),
        pytest.param({"x-api-key": b"\xff\xfe"}, "not known", id="bytes"),
        pytest.param({"x-api-key": "a", "authorization": "Bearer a"}, "two headers", id="two"),
    ],
)
async def test_who_is_nobody_is_told_so_at_once(fleet: Fleet, headers: dict[str, str], why: str) -> None:
    """401 with a challenge before the body has come, whether there is such a bot or not; the connection stays."""
    give_key(fleet)
    fleet.publish_bots("bot")
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet, access=ON) as router:
        for path in ("/v2/models/bot/infer", "/v2/models/none/infer"):
            answer = await router.client.post(path, content=b"{}", headers=headers)
            assert answer.status_code == 401
            assert why in answer.json()["error"]
            assert answer.headers["www-authenticate"] == 'Bearer realm="botshard"'
        listing = await router.client.get("/v2/models", headers=headers)
        assert (listing.status_code, why in listing.json()["error"]) == (401, True)
        for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
            assert (await router.client.get(path, headers=headers)).status_code == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert b" 401 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        assert await router.metric("botshard_router_unserved", code="401") == 0.0  # /metrics needs a role
        assert router.parts.account.held_bytes == 0


async def test_anothers_bot_is_answered_as_one_that_does_not_exist(fleet: Fleet) -> None:
    """The same status, text and headers; also after the bot was found in the store, and while the store is away."""
    _, acme = give_key(fleet)
    _, other = give_key(fleet, "other")
    _, everybody = give_key(fleet, "*")
    fleet.publish_bots("theirs")
    fleet.publish_bots("ours", tenant="other")

    async def told(router: RunningRouter, bot: str) -> tuple[int, str, list[str]]:
        answer = await router.client.post(f"/v2/models/{bot}/infer", content=b"{}", headers=other)
        return answer.status_code, answer.text.replace(bot, "BOT"), sorted(answer.headers)

    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON, poll_interval_s=0.05) as router:
            assert await told(router, "theirs") == await told(router, "absent")
            assert (await told(router, "theirs"))[0] == 404
            assert await status_of(router, "ours", other) == 200
            assert await status_of(router, "theirs", acme) == 200
            assert [await status_of(router, bot, everybody) for bot in ("ours", "theirs")] == [200, 200]
            metadata = await router.client.get("/v2/models/theirs", headers=other)
            unload = await router.client.post("/v2/repository/models/theirs/unload", headers=other)
            assert (metadata.status_code, unload.status_code) == (404, 404)
            elsewhere = fleet.folder.with_name("elsewhere")
            fleet.folder.rename(elsewhere)
            try:
                away = await told(router, "theirs"), await told(router, "absent")
            finally:
                elsewhere.rename(fleet.folder)
            assert away[0] == away[1]
    assert all("theirs" not in call.path or call.headers for call in server.calls)
    assert len(server.calls) == 4


async def test_a_bot_that_is_found_in_the_store_is_for_its_tenant_only(fleet: Fleet) -> None:
    """A router that has not polled yet looks for it on request, and then tells the two apart."""
    _, acme = give_key(fleet)
    _, other = give_key(fleet, "other")
    fleet.publish_bots("known")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON, poll_interval_s=60.0) as router:
            fleet.publish_bots("fresh")
            assert await status_of(router, "fresh", other) == 404
            assert await status_of(router, "fresh", acme) == 200
            assert await status_of(router, "fresh", other) == 404
    assert len(server.calls) == 1


async def test_listings_show_a_tenants_own_bots(fleet: Fleet) -> None:
    """By name and in the index; a key for all tenants sees all."""
    _, other = give_key(fleet, "other")
    _, everybody = give_key(fleet, "*")
    fleet.publish_bots("theirs", "theirs-2")
    fleet.publish_bots("ours", tenant="other")
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet, access=ON) as router:

        async def names(headers: dict[str, str]) -> tuple[list[str], list[str]]:
            listed = (await router.client.get("/v2/models", headers=headers)).json()["models"]
            index = (await router.client.post("/v2/repository/index", headers=headers)).json()
            return listed, [entry["name"] for entry in index]

        assert await names(other) == (["ours"], ["ours"])
        assert await names(everybody) == (["ours", "theirs", "theirs-2"],) * 2


@pytest.mark.parametrize("path", ["/admin/table", "/admin/bots/bot", "/metrics"])
async def test_the_whole_fleet_is_for_administrators(fleet: Fleet, path: str) -> None:
    """403 for others; an administrator is not thereby somebody who asks bots."""
    _, infer = give_key(fleet, "*")
    _, admin = give_key(fleet, "*", Role.ADMIN)
    fleet.publish_bots("bot")
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet, access=ON) as router:
        assert (await router.client.get(path)).status_code == 401
        assert (await router.client.get(path, headers=infer)).status_code == 403
        assert (await router.client.get(path, headers=admin)).status_code == 200
        assert (await router.client.head(path, headers=infer)).status_code == 403
        assert await status_of(router, "bot", admin) == 403
    async with running_router(fleet, access=AccessSettings(is_on=True, metrics_open=True)) as router:
        assert (await router.client.get("/metrics")).status_code == 200


async def test_a_revoked_key_is_refused_within_a_poll(fleet: Fleet) -> None:
    """On the connection that it was good on before; one that expires needs nobody to revoke it."""
    key_id, headers = give_key(fleet)
    _, short = give_key(fleet, expires_in_s=2)
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON) as router:
            assert await status_of(router, "bot", headers) == 200
            change_keys(fleet.store, lambda keys: keys.without([key_id]))

            async def is_refused(shown: dict[str, str]) -> bool:
                return await status_of(router, "bot", shown) == 401

            await aeventually(lambda: is_refused(headers))
            await aeventually(lambda: is_refused(short))


def test_what_was_remembered_of_a_key_ends_with_the_key(fleet: Fleet) -> None:
    """Whoever keeps a principal for requests with the same head is told when the next one comes."""
    keys = DocumentFollower(fleet.store, ACCESS_KEYS, decode=decode_keys)
    limits = DocumentFollower(fleet.store, ACCESS_LIMITS, decode=decode_limits)
    ring = KeyRing(keys, clock_s=time.monotonic, wall_s=time.time)
    gate = Gate(ring, None, limits=limits)
    key_id, headers = give_key(fleet)
    keys.refresh()
    remembered = gate.who({b"authorization": headers["authorization"].encode()})
    assert gate.admit(remembered, "bot", None).principal is remembered
    give_key(fleet)
    keys.refresh()
    assert gate.admit(remembered, "bot", None).principal.name == key_id
    change_keys(fleet.store, lambda held: held.without([key_id]))
    keys.refresh()
    with pytest.raises(UnauthorizedError):
        gate.admit(remembered, "bot", None)
    with pytest.raises(UnauthorizedError):
        gate.admit_to_listings(remembered)


async def test_damaged_keys_are_refused_whole_and_the_last_good_ones_stay(fleet: Fleet) -> None:
    """Also where the document is gone; why is told to administrators, without what was in it."""
    _, headers = give_key(fleet)
    _, admin = give_key(fleet, "*", Role.ADMIN)
    secret = headers["authorization"].split()[1]
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, access=ON) as router:

            async def problem() -> str:
                told = (await router.client.get("/admin/table", headers=admin)).json()["problems"]
                return str(told.get(ACCESS_KEYS, ""))

            assert await problem() == ""
            document = fleet.store.get(ACCESS_KEYS).data
            wrong = re.sub(rb'"sha256":"[0-9a-f]+"', b'"sha256":"%b"' % secret.encode(), document, count=1)
            fleet.store.put(ACCESS_KEYS, wrong)
            assert "keys[0].sha256" in await aeventually(problem)
            assert secret not in await problem()
            assert await status_of(router, "bot", headers) == 200
            fleet.store.delete(ACCESS_KEYS)

            async def is_gone() -> bool:
                return "is gone" in await problem()

            await aeventually(is_gone)
            assert await status_of(router, "bot", headers) == 200
            fleet.store.put(ACCESS_KEYS, document)

            async def is_well() -> bool:
                return await problem() == ""

            await aeventually(is_well)


async def test_before_keys_were_read_nobody_is_refused_for_good(fleet: Fleet) -> None:
    """503 while the store cannot be read; 401 once it is known that there are no keys."""
    _, headers = give_key(fleet)
    fleet.publish_bots("bot")
    fleet.publish_table("http://127.0.0.1:1")
    elsewhere = fleet.folder.with_name("elsewhere")
    fleet.folder.rename(elsewhere)
    async with running_router(fleet, access=ON) as router:
        answer = await router.client.post("/v2/models/bot/infer", content=b"{}", headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        elsewhere.rename(fleet.folder)

        async def is_read() -> bool:
            return await status_of(router, "nobody", headers) == 404

        await aeventually(is_read)


async def test_nothing_of_a_key_is_left_in_logs_metrics_or_the_store(fleet: Fleet) -> None:
    """Not of a good one, nor of one that is wrong, whatever is logged."""
    _, good = give_key(fleet)
    _, admin = give_key(fleet, "*", Role.ADMIN)
    wrong = "bsk_aaaaaaaaaaaa_" + "WrongWrongWrongWrongWrongWrongWrongWrongWro"
    stream = io.StringIO()
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    configure_logs("router", level="DEBUG", stream=stream)
    try:
        fleet.publish_bots("bot")
        async with upstream(infer_answer("bot")) as server:
            fleet.publish_table(server.url)
            async with running_router(fleet, access=ON, access_log=True) as router:
                for headers in (good, admin, {"x-api-key": wrong}, {"authorization": f"Bearer {wrong}"}):
                    await status_of(router, "bot", headers)
                    await status_of(router, "absent", headers)
                text = (await router.client.get("/metrics", headers=admin)).text
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    stored = fleet.store.get(ACCESS_KEYS).data.decode()
    assert "/v2/models/bot/infer" in stream.getvalue()
    for shown in (good["authorization"], admin["authorization"], wrong):
        secret = shown.rsplit("_", 1)[1] if shown is wrong else shown.split("_", 2)[2]
        for place in (stream.getvalue(), text, stored):
            assert secret not in place


def test_a_key_reads_back_what_was_written() -> None:
    """And two are never alike."""
    made = [new_key(tenant=TenantId("acme"), roles=[Role.INFER], now_s=1) for _ in range(200)]
    assert len({key.id for key, _ in made}) == len({shown for _, shown in made}) == 200
    keys = AccessKeys()
    for key, _ in made:
        keys = keys.with_key(key)
    assert keys.revision == 200
    assert keys.without(["nobody"]) is keys
