"""What a router holds of a large catalog, and what it says of bots that it holds so little of."""

from __future__ import annotations

import sys

from botshard.sharding.hashing import bot_hash, family_id
from botshard.sharding.ids import TenantId
from botshard.store.catalog_follower import CatalogFollower
from router.table import BotRoute, Routes, hash_of, is_of, tag_of
from tests.catalogs import bytes_a_bot, make_bots, write_catalog
from tests.router.fleet import REALTIME, SLEEPY, Fleet, bot_entry
from tests.router.running import running_router


def test_a_router_holds_a_bot_in_a_hundred_bytes(fleet: Fleet) -> None:
    """20,000 bots of two families: slots, hashes, entries and all else, over the ids themselves."""
    bots = [*make_bots(10_000, REALTIME), *make_bots(20_000, SLEEPY)[10_000:]]
    write_catalog(fleet.store, bots)
    routes = Routes()

    def follow() -> CatalogFollower[BotRoute]:
        catalog = CatalogFollower(fleet.store, keep=routes.served.keep)
        catalog.refresh()
        routes.bots = catalog.bots
        return catalog

    held_bytes, _ = bytes_a_bot(bots, follow)

    assert len(routes.bots) == 20_000
    assert held_bytes <= 100


def test_a_bot_takes_no_more_where_it_is_known_whose_it_is(fleet: Fleet) -> None:
    """Each bot of a tenant of its own: the tenants are in the routes' numbers, for which Python takes the same room."""
    names = [f"bot-{number}" for number in range(2000)]
    plain, owned = Routes(), Routes(tenants=True)
    for name in names:
        bot = bot_entry(name, tenant=f"tenant-of-{name}")
        without, having = plain.served.keep(bot, bot_hash(name)), owned.served.keep(bot, bot_hash(name))
        assert without is not None
        assert having is not None
        assert (hash_of(having), owned.served.of(having)) == (bot_hash(name), plain.served.of(without))
        assert is_of(having, tag_of(TenantId(f"tenant-of-{name}")))
        assert not is_of(having, tag_of(TenantId("tenant-of-bot")))
        assert sys.getsizeof(having) <= 48  # as much as the 36 of others are given, in steps of 16
    later = owned.served.keep(bot_entry("bot-0", version=300), bot_hash("bot-0"))
    assert later is not None
    assert sys.getsizeof(later) <= 48
    assert len(owned.served.families) == 2


def test_a_route_says_what_its_entry_says() -> None:
    """Family, version and hash, from one number; a retired bot has none."""
    routes = Routes()
    names = [f"bot-{number}" for number in range(50)]
    for name in names:
        for key in (REALTIME, SLEEPY):
            for version in (1, 2, 7):
                route = routes.served.keep(bot_entry(name, key, version=version), bot_hash(name))
                assert route is not None
                assert routes.served.of(route) == (key, family_id(key), version)
                assert hash_of(route) == bot_hash(name)
    assert routes.served.keep(bot_entry("gone", retired=True), bot_hash("gone")) is None


async def test_a_bot_is_explained_while_the_store_is_away(fleet: Fleet) -> None:
    """All but the tenant, which a router does not hold; of a bot that it does not know it cannot say anything."""
    fleet.publish_bots("bot", version=2)
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet) as router:
        before = (await router.client.get("/admin/bots/bot")).json()
        elsewhere = fleet.folder.with_name("elsewhere")
        fleet.folder.rename(elsewhere)
        after = (await router.client.get("/admin/bots/bot")).json()
        unknown = await router.client.get("/admin/bots/unknown")
        elsewhere.rename(fleet.folder)
    assert (before["tenant"], before["version"]) == ("acme", 2)
    assert after == {**before, "tenant": None}
    assert unknown.status_code == 503
