"""Lists, one bot, pools and explanations, of a fleet as its parts leave it in the store."""

from __future__ import annotations

import time

import pytest

from botshard.sharding.hashing import bot_hash, rank_pools, shard_of
from botshard.sharding.ids import Epoch, ShardIndex
from botshard.sharding.routing import Linger, Target
from botshard.store.base import ObjectStore
from botshard.store.layout import TABLE_CURRENT, catalog_key_of
from botshard.store.table import TableStore
from tests.cli.fleets import BOTS, FAMILY, POOLS, table_of
from tests.cli.running import Cli

_STATES = {
    "acme-banking": "resident",
    "acme-travel": "failed",
    "globex-hr": "absent",
    "globex-old": "retired",
    "globex-huge": "unplaced",
}


@pytest.fixture
def elsewhere(cli: Cli, fleet: ObjectStore) -> Cli:
    """`botshard` on a store whose pools live elsewhere: no local stack can say which replicas are left."""
    other = cli.folder / "work"
    other.mkdir()
    return Cli(other, {"BOTSHARD_STORE": fleet.url})


def test_each_bot_has_one_state(elsewhere: Cli) -> None:
    """The list says of each bot what matters most."""
    assert {line["bot"]: line["state"] for line in elsewhere.document("bots")["bots"]} == _STATES


def test_nothing_is_resident_where_the_stack_is_down(cli: Cli, fleet: ObjectStore) -> None:
    """Reports that a stopped stack has left do not count."""
    states = {line["bot"]: line["state"] for line in cli.document("bots")["bots"]}
    assert states["acme-banking"] == "absent"
    assert cli.document("pools")["pools"][0]["readyReplicas"] == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tenant", "acme"], ["acme-banking", "acme-travel"]),
        (["--state", "retired"], ["globex-old"]),
        (["--framework", "tensorflow"], []),
        (["--group", "non-realtime", "globex-h*"], ["globex-hr", "globex-huge"]),
        (["--limit", "2"], ["acme-banking", "acme-travel"]),
        (["--limit", "2", "--after", "acme-travel"], ["globex-hr", "globex-huge"]),
    ],
    ids=["tenant", "state", "framework", "group-and-pattern", "first-page", "second-page"],
)
def test_a_list_can_be_narrowed_and_paged(arguments: list[str], expected: list[str], elsewhere: Cli) -> None:
    """Filters combine, and pages follow each other by the last id."""
    assert [line["bot"] for line in elsewhere.document("bots", *arguments)["bots"]] == expected


def test_a_page_says_how_to_go_on(elsewhere: Cli) -> None:
    """The table is followed, on stderr, by where the next page starts."""
    ended = elsewhere("bots", "--limit", "2")
    assert len(ended.stdout.splitlines()) == 3
    assert "2 of 5 bots" in ended.stderr
    assert "--after acme-travel" in ended.stderr
    assert elsewhere.document("bots", "--limit", "2")["next"] == "acme-travel"


def test_no_bots_is_told_with_the_store_that_was_used(elsewhere: Cli, fleet: ObjectStore) -> None:
    """An empty list names the place where it was looked for."""
    ended = elsewhere("bots", "--tenant", "nobody")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert fleet.url in ended.stderr
    assert "BOTSHARD_STORE" in ended.stderr


def test_a_bot_is_shown_with_all_that_is_known(elsewhere: Cli) -> None:
    """Versions, model, shard, pools, replicas and what was measured, in one document."""
    shown = elsewhere.document("show", "acme-banking")
    shard = shard_of(bot_hash("acme-banking"), 2)
    own = rank_pools(shard, 2, POOLS[:2])[0]
    assert shown["shard"]["index"] == shard
    assert shown["shard"]["routed"] == [own]
    assert (shown["epoch"], shown["family"]) == (7, FAMILY)
    assert (shown["footprintBytes"], shown["ratePerS"]) == (4096, 1.5)
    assert [(one["pool"], one["live"], one["loadS"]) for one in shown["replicas"]] == [(own, True, 0.02)]
    assert shown["model"]["inputs"] == ["text BYTES [-1, 1]"]
    assert shown["model"]["preprocess"] == ["normalize", "regex-replace", "vocabulary"]
    assert shown["versions"][0]["serving"]
    assert shown["problems"] == {}


def test_what_a_bot_costs_is_shown(elsewhere: Cli) -> None:
    """Requests, rows and CPU since when, as text and as JSON; nothing of a bot that was not asked."""
    shown = elsewhere.document("show", "acme-banking")
    assert shown["costs"] == {
        "sinceS": 1_700_000_000,
        "requests": 12,
        "rows": 40,
        "cpuS": 0.004,
        "cpuPerRowS": 0.0001,
        "loadS": 0.02,
    }
    assert shown["replicas"][0]["cost"] == {"sinceS": 1_700_000_000, "requests": 12, "rows": 40, "cpuS": 0.004}
    text = elsewhere("show", "acme-banking").stdout
    assert "12 requests, 40 rows since 2023-11-14 22:13:20 UTC" in text
    assert "0.004 s, 100.0 µs a row" in text
    assert elsewhere.document("show", "acme-travel")["costs"] is None


def test_a_failed_load_is_shown_with_its_reason(elsewhere: Cli) -> None:
    """`show` says why a bot cannot be loaded."""
    ended = elsewhere("show", "acme-travel")
    assert ended.exit_code == 0
    assert "the file has 3 tensors, the architecture 4" in ended.stdout


def test_a_bot_that_cannot_be_placed_says_why(elsewhere: Cli) -> None:
    """The controller's reason is shown and explained."""
    for command in ("show", "explain"):
        assert "it needs 1.0 GiB" in elsewhere(command, "globex-huge").stdout


def test_an_explanation_names_every_step(elsewhere: Cli) -> None:
    """Inputs, hash, bits, shard, order of pools, epoch, residency: what a router computes, in sentences."""
    told = elsewhere.document("explain", "acme-banking")
    why = " ".join(told["why"])
    detail = told["detail"]
    bits = f"{bot_hash('acme-banking'):064b}"[:2]
    assert detail["shard"]["prefix"] == bits
    assert f"begins with the bits {bits}; the family has 2 bits" in why
    assert "Routing table 7 routes that shard to" in why
    assert "resident on 1 of 1 live replicas" in why
    assert "footprint, the bound on bots and a reload rate over the threshold add pools" in why
    assert [pool["rank"] for pool in detail["shard"]["pools"]] == [1, 2]
    assert detail["catalogObject"] == catalog_key_of(detail["bot"])
    text = elsewhere("explain", "acme-banking").stdout
    assert all(sentence in text for sentence in told["why"])


def test_a_move_is_explained_while_it_goes_on(elsewhere: Cli, fleet: ObjectStore) -> None:
    """Pools that warm and pools that linger are named, with the reason."""
    shard = shard_of(bot_hash("acme-banking"), 2)
    old = next(name for name in POOLS[:2] if name != rank_pools(shard, 2, POOLS[:2])[0])
    table = table_of(
        epoch=8,
        targets={shard: Target((POOLS[2],), Epoch(8))},
        lingering={shard: Linger((old,), time.time() + 60)},
    )
    TableStore(fleet).publish(table, previous_etag=fleet.get(TABLE_CURRENT).etag)
    told = elsewhere.document("explain", "acme-banking")
    roles = {pool["pool"]: pool["role"] for pool in told["detail"]["shard"]["pools"]}
    assert (roles[POOLS[2]], roles[old]) == ("warming", "lingering")
    why = " ".join(told["why"])
    assert f"on its way to {POOLS[2]} since table 8" in why
    assert f"{old} had it before" in why
    pools = {line["pool"]: line for line in elsewhere.document("pools")["pools"]}
    assert (pools[POOLS[2]]["warmingShards"], pools[old]["lingeringShards"]) == (1, 1)


def test_a_move_that_waits_for_its_turn_is_explained(elsewhere: Cli, fleet: ObjectStore) -> None:
    """It has not begun: no pool warms, and the reason is told."""
    shard = shard_of(bot_hash("acme-banking"), 2)
    table = table_of(epoch=8, targets={shard: Target((POOLS[2],), Epoch(0))})
    TableStore(fleet).publish(table, previous_etag=fleet.get(TABLE_CURRENT).etag)
    told = elsewhere.document("explain", "acme-banking")
    assert {pool["pool"]: pool["role"] for pool in told["detail"]["shard"]["pools"]}[POOLS[2]] == "planned"
    assert told["detail"]["shard"]["goingSince"] is None
    assert f"It will move to {POOLS[2]} when its turn comes" in " ".join(told["why"])
    pools = {line["pool"]: line for line in elsewhere.document("pools")["pools"]}
    assert (pools[POOLS[2]]["warmingShards"], pools[POOLS[2]]["plannedShards"]) == (0, 1)


@pytest.mark.parametrize(
    ("bot", "told"),
    [("globex-old", "It is retired"), ("globex-hr", "the first request loads it there")],
    ids=["retired", "absent"],
)
def test_what_is_not_served_is_explained_too(bot: str, told: str, elsewhere: Cli) -> None:
    """There is a sentence for each way not to be in memory."""
    assert told in elsewhere("explain", bot).stdout


def test_without_a_table_the_controller_is_asked_for(elsewhere: Cli, fleet: ObjectStore) -> None:
    """Before the first table nothing is routed, and the explanation says who publishes it."""
    fleet.delete(TABLE_CURRENT)
    assert "does a shard controller run?" in elsewhere("explain", "acme-banking").stdout
    ended = elsewhere("pools")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert "no routing table has been published" in ended.stderr


def test_pools_are_listed_with_what_they_carry(elsewhere: Cli) -> None:
    """Shards, bots, residents, bytes and rate of each pool, and what the controller waits for."""
    fleet = elsewhere.document("pools")
    lines = {line["pool"]: line for line in fleet["pools"]}
    assert set(lines) == set(POOLS[:2])
    expected = dict.fromkeys(lines, 0)
    for bot in BOTS:
        if bot != "globex-old":
            expected[rank_pools(shard_of(bot_hash(bot), 2), 2, POOLS[:2])[0]] += 1
    assert {pool: line["bots"] for pool, line in lines.items()} == expected
    assert sum(line["shards"] for line in lines.values()) == 4
    line = lines[POOLS[0]]
    assert (line["resident"], line["failed"], line["residentBytes"], line["ratePerS"]) == (1, 1, 4096, 1.5)
    assert (line["replicas"], line["readyReplicas"], line["phase"]) == (1, 1, None)
    ended = elsewhere("pools")
    assert "the controller waits: pool x has no URL yet" in ended.stderr
    assert "1 bots cannot be placed" in ended.stderr


def test_damage_in_the_store_is_told_and_the_rest_shown(elsewhere: Cli, fleet: ObjectStore) -> None:
    """A damaged table and a damaged catalog object take nothing else with them."""
    fleet.put(TABLE_CURRENT, b"{")
    fleet.put(catalog_key_of("acme-travel"), b"[]")  # type: ignore[arg-type]  # a plain text is an id here
    listed = elsewhere.document("bots")
    assert "acme-banking" in [line["bot"] for line in listed["bots"]]
    assert set(listed["problems"]) == {TABLE_CURRENT, catalog_key_of("acme-travel")}  # type: ignore[arg-type]
    assert "problem: " in elsewhere("bots").stderr
    assert elsewhere("show", "acme-travel").exit_code == 1


def test_shards_of_a_family_without_bits_are_one(elsewhere: Cli, fleet: ObjectStore) -> None:
    """A family of one shard is explained as such."""
    TableStore(fleet).publish(table_of(epoch=9, bits=0), previous_etag=fleet.get(TABLE_CURRENT).etag)
    told = elsewhere.document("explain", "acme-banking")
    assert told["detail"]["shard"]["index"] == ShardIndex(0)
    assert "0 bits" in " ".join(told["why"])
