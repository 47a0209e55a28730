"""What a replica keeps of the catalog: its own bots, and that there are others; and how that follows the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from botshard.sharding.catalog import Bot, FamilyKey
from botshard.sharding.hashing import bot_hash, catalog_object_index, family_id, pool_name, shard_of
from botshard.sharding.ids import BotId, Epoch, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes, GroupRoute, RoutingTable
from botshard.store.base import Blob, StoreUnavailableError
from botshard.store.catalog import CatalogStore
from botshard.store.files import FileStore
from botshard.store.layout import catalog_key_of
from botshard.store.table import TableStore
from kserve_runtimes.core.assignment import NO_TERRITORY, Territory
from kserve_runtimes.core.follower import Follower
from kserve_runtimes.core.metrics import Metrics
from tests.catalogs import bytes_a_bot, make_bots, write_catalog
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

KEY = key_of("realtime", "torch")
MINE = pool_name(KEY.group, family_id(KEY), 0)
OTHER = pool_name(KEY.group, family_id(KEY), 1)
BITS = 4


class Counting(FileStore):
    """A folder that notes the catalog objects that are read, and can fail after some."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []
        self.left: int | None = None

    def get_if_changed(self, key: str, etag: str | None, /) -> Blob | None:
        if self.left is not None and key.startswith("catalog/"):
            if self.left == 0:
                raise StoreUnavailableError("away")
            self.left -= 1
        blob = super().get_if_changed(key, etag)
        if blob is not None and key.startswith("catalog/"):
            self.read.append(key)
        return blob

    def table(self, epoch: int, mine: Sequence[int]) -> None:
        """Publish that these shards are at `MINE` and all others at `OTHER`."""
        shards = tuple((MINE if shard in mine else OTHER,) for shard in range(1 << BITS))
        urls = {MINE: "http://127.0.0.1:9", OTHER: "http://127.0.0.1:9"}
        family = FamilyRoutes(family_id(KEY), KEY, BITS, urls, shards)
        table = RoutingTable(Epoch(epoch), {KEY.group: GroupRoute(True, 5.0, 30.0)}, {family.id: family})
        tables = TableStore(self)
        previous = tables.read()
        tables.publish(table, previous_etag=previous[1] if previous else None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    """An empty store."""
    store = Counting(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def bots(store: Counting) -> list[Bot]:
    """400 bots of the family, in the store."""
    bots = make_bots(400, KEY)
    write_catalog(store, bots)
    return bots


def follower_of(store: Counting) -> Follower:
    return Follower(store, pool=MINE, metrics=Metrics(CollectorRegistry()))


def bots_in(bots: Sequence[Bot], shards: Sequence[int]) -> set[BotId]:
    return {bot.id for bot in bots if shard_of(bot_hash(bot.id), BITS) in shards}


def owned(follower: Follower) -> set[BotId]:
    assert follower.view is not None
    return set(follower.view.owned)


def test_it_knows_all_bots_and_has_the_versions_of_its_own(store: Counting, bots: list[Bot]) -> None:
    """Others are known so that they are 421 and not 404; retired ones are not."""
    store.table(1, mine=[2, 3])
    follower = follower_of(store)
    follower.begin()
    follower.poll()
    mine = bots_in(bots, [2, 3])

    assert owned(follower) == mine
    assert all(follower.knows(bot.id) for bot in bots)
    gone = next(iter(mine))
    CatalogStore(store).change(gone, lambda bot: bot and Bot(bot.id, bot.tenant, bot.versions, retired=True))
    follower.poll()
    assert not follower.knows(gone)
    assert owned(follower) == mine - {gone}


def test_a_table_that_moves_shards_reads_their_objects_again_and_no_others(store: Counting, bots: list[Bot]) -> None:
    """Bots that came are there with their versions, those that went are not, whatever else the table says."""
    store.table(1, mine=[2, 3])
    follower = follower_of(store)
    follower.begin()
    follower.poll()
    store.read.clear()

    store.table(2, mine=[3, 9])
    follower.poll()

    assert owned(follower) == bots_in(bots, [3, 9])
    moved = {catalog_key_of(bot_id) for bot_id in bots_in(bots, [2, 9])}
    assert sorted(store.read) == sorted(moved)
    store.read.clear()
    store.table(3, mine=[3, 9])
    view = follower.poll()
    assert view is not None
    assert (view.epoch, set(view.owned)) == (3, bots_in(bots, [3, 9]))
    assert store.read == []


def test_a_store_that_goes_away_in_the_middle_leaves_the_view_until_it_is_back(
    store: Counting, bots: list[Bot]
) -> None:
    """No half-read move is in force, and nothing of it is forgotten."""
    store.table(1, mine=[2])
    follower = follower_of(store)
    follower.begin()
    follower.poll()
    store.table(2, mine=[9])
    new = make_bots(401, KEY)[-1]
    CatalogStore(store).change(new.id, lambda _: new)
    # The head, the object of the new bot, and three of those that moved.
    store.left = 5
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            follower.poll()
    assert follower.view is not None
    assert (follower.view.epoch, owned(follower)) == (1, bots_in(bots, [2]))

    store.left = None
    follower.poll()

    assert (follower.view.epoch, owned(follower)) == (2, bots_in([*bots, new], [9]))
    assert follower.knows(new.id)


def test_an_object_that_is_damaged_when_its_shard_comes_is_told_by_the_view(store: Counting, bots: list[Bot]) -> None:
    """The other bots of the shard are there; with the repaired object the rest is, and the view is whole."""
    store.table(1, mine=[])
    follower = follower_of(store)
    follower.begin()
    follower.poll()
    coming = bots_in(bots, [9])
    key = catalog_key_of(min(coming))
    whole = store.get(key).data
    store.put(key, whole[:-30])
    store.table(2, mine=[9])

    view = follower.poll()

    assert view is not None
    assert view.unread == {key}
    assert set(view.owned) == {bot_id for bot_id in coming if catalog_key_of(bot_id) != key}
    assert follower.knows(min(coming))
    store.put(key, whole)
    follower.find(min(coming))
    assert follower.view is not None
    assert (follower.view.unread, owned(follower)) == (frozenset(), coming)


def test_bots_of_others_take_next_to_nothing(store: Counting) -> None:
    """5,000 bots, a sixteenth of them this pool's: at most 120 bytes a bot, over the ids themselves."""
    bots = make_bots(5_000, KEY)
    write_catalog(store, bots)
    store.table(1, mine=[4])

    def follow() -> Follower:
        follower = follower_of(store)
        follower.begin()
        follower.poll()
        return follower

    held_bytes, follower = bytes_a_bot(bots, follow)

    assert owned(follower) == bots_in(bots, [4])
    assert held_bytes < 120


territories = st.builds(
    lambda bits, shards, key: Territory(
        key, bits, frozenset(ShardIndex(shard & ((1 << bits) - 1)) for shard in shards)
    ),
    bits=st.sampled_from((0, 1, 4, 8, 10)),
    shards=st.lists(st.integers(0, 1023), max_size=4),
    key=st.sampled_from((KEY, key_of("realtime", "tensorflow"))),
)


@given(before=st.just(NO_TERRITORY) | territories, after=territories, hashes=st.lists(st.integers(0, 2**64 - 1)))
def test_what_is_read_again_has_every_bot_that_comes_or_goes(
    before: Territory, after: Territory, hashes: list[int]
) -> None:
    """Whatever families and numbers of shards: a bot on one side only is in an object that is read."""
    between = before.objects_between(after)
    keys: tuple[FamilyKey, ...] = tuple(key for key in (before.key, after.key) if key is not None)
    for hash_of_bot in hashes:
        for key in keys:
            if before.holds(key, hash_of_bot) != after.holds(key, hash_of_bot):
                assert catalog_object_index(hash_of_bot) in between
    assert after.objects_between(after) == set()


def test_a_replica_is_not_warmed_while_bots_that_come_to_it_cannot_be_read(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """It serves what it has and says no epoch for warmed, so that the old pool goes on, until the object is whole."""
    fleet.publish(linear_folder(tmp_path, "one"), linear_folder(tmp_path, "two"))
    mine, other = pool_of("realtime", "torch"), pool_of("realtime", "torch", 1)
    fleet.publish_table({KEY: [other]})
    with Replica(torch_zygote, fleet, mine) as replica:
        replica.wait_ready()
        key = catalog_key_of(BotId("one"))
        whole = fleet.store.get(key).data
        fleet.store.put(key, whole[:-9])
        epoch = fleet.publish_table({KEY: [other]}, targets={KEY: mine})

        def warmed() -> Epoch | None:
            report = fleet.report(PoolName(mine), replica.name)
            return report.warmed_epoch if report else None

        eventually(lambda: replica.get("/pool/ready").json["epoch"] == epoch)
        eventually(lambda: replica.multiply("two").status == 200)
        assert replica.multiply("one").status == 421
        assert replica.get("/pool/ready").json["warmedEpoch"] < epoch
        fleet.store.put(key, whole)
        eventually(lambda: replica.multiply("one").status == 200)
        assert eventually(lambda: warmed() == epoch)
