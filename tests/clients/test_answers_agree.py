"""A client and the product are asked the same: tables from a seed, bots, orders, names; and tables that are spoiled."""

from __future__ import annotations

import base64
from random import Random
from typing import Any

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.codec import decode_table
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.hashing import bot_hash, family_id, pool_name, rank_pools
from botshard.sharding.ids import FamilyId, Framework, GroupName, PoolName, ShardIndex
from botshard.sharding.routing import RoutingTable
from tests.clients.toolchains import Client
from tests.clients.worlds import SPOILERS, bot_question, encoded, spoiled, spoiled_bytes

Question = dict[str, Any]
TABLES, BOTS_A_TABLE = 300, 6
SPOILED, SPOILED_BYTES = 60, 400


class Ours:
    """Our answers to the questions that a client's program takes."""

    def __init__(self) -> None:
        self._table: RoutingTable | None = None

    def answer(self, question: Question) -> dict[str, Any]:
        """What the program would say. Of a refusal: every field, where the program names the first."""
        if "table" in question:
            try:
                self._table = decode_table(base64.b64decode(question["table"]))
            except InvalidDocumentError as refused:
                return {"refused": [problem.field for problem in refused.problems]}
            return {"epoch": str(self._table.epoch)}
        if "pool" in question:
            asked = question["pool"]
            return {"name": pool_name(GroupName(asked["group"]), FamilyId(asked["familyId"]), asked["ordinal"])}
        if "order" in question:
            asked = question["order"]
            pools = [PoolName(name) for name in asked["pools"]]
            return {"order": list(rank_pools(ShardIndex(asked["shard"]), asked["bits"], pools))}
        return self._place(question)

    def _place(self, question: Question) -> dict[str, Any]:
        key = FamilyKey(
            GroupName(question["group"]),
            Framework(question["framework"]),
            question.get("backbone"),
            question.get("pin"),
        )
        family, hash_of_bot = family_id(key), bot_hash(question["id"])
        explained = self._table.explain(family, hash_of_bot) if self._table else None
        pools = self._table.lookup(family, hash_of_bot) if self._table else ()
        return {
            "hash": f"{hash_of_bot:016x}",
            "familyId": family,
            "shard": explained[0] if explained else None,
            "pools": [{"name": pool.name, "url": pool.url} for pool in pools],
            "answering": list(explained[1].answering(explained[0])) if explained else [],
        }


def as_question(data: bytes) -> Question:
    """A table on its way to a client."""
    return {"table": base64.b64encode(data).decode()}


def compare(client: Client, questions: list[Question]) -> list[dict[str, Any]]:
    """Ask both; every answer is the same, and a refusal has a field that is wrong. Returns the client's."""
    ours = Ours()
    answers = client.ask(questions)
    for question, theirs in zip(questions, answers, strict=True):
        wanted = ours.answer(question)
        if "refused" in wanted:
            assert "refused" in theirs, question
        else:
            assert theirs == wanted, question
    return answers


def test_a_client_finds_every_bot_where_we_do(client: Client) -> None:
    """300 tables of every shape, regular or not: hash, family id, shard, pools in their order, URLs, who answers."""
    random = Random("lookups")
    questions: list[Question] = []
    for _ in range(TABLES):
        data, keys = encoded(random)
        questions.append(as_question(data))
        questions += [bot_question(random, keys) for _ in range(BOTS_A_TABLE)]
    answers = compare(client, questions)
    assert sum(1 for answer in answers if "epoch" in answer) == TABLES
    assert sum(1 for answer in answers if answer.get("pools")) > TABLES * BOTS_A_TABLE / 2


def test_a_client_names_and_orders_pools_as_we_do(client: Client) -> None:
    """What only a planner computes."""
    random = Random("pools")
    questions: list[Question] = []
    for _ in range(100):
        family = family_id(FamilyKey(GroupName("realtime"), Framework("torch"), None, f"pin-{random.random()}"))
        ordinals = random.sample(range(1000), 12)
        questions += [{"pool": {"group": "realtime", "familyId": family, "ordinal": ordinal}} for ordinal in ordinals]
        bits = random.randint(0, 20)
        names = [pool_name(GroupName("realtime"), family, ordinal) for ordinal in ordinals]
        questions.append({"order": {"shard": random.randrange(1 << bits), "bits": bits, "pools": names}})
    compare(client, questions)


def test_a_client_refuses_what_is_wrong_and_keeps_what_it_has(client: Client) -> None:
    """60 tables with one thing wrong: refused for a field that we find wrong too; the table before stays in force."""
    random = Random("refusals")
    questions: list[Question] = []
    for number in range(SPOILED):
        data, keys = encoded(random)
        bot = bot_question(random, keys)
        broken = as_question(spoiled(random, data, SPOILERS[number % len(SPOILERS)]))
        questions += [as_question(data), bot, broken, bot]
    answers = compare(client, questions)
    assert all("refused" in answer for answer in answers[2::4])
    assert answers[1::4] == answers[3::4]
    for question, answer in zip(questions[2::4], answers[2::4], strict=True):
        fields = Ours().answer(question)["refused"]
        assert any(answer["refused"].startswith(field) for field in fields), (answer, fields)


def test_a_client_judges_damaged_bytes_as_we_do(client: Client) -> None:
    """Bytes changed, lost or doubled anywhere: accepted by both, and then looked up alike, or refused by both."""
    random = Random("damage")
    questions: list[Question] = []
    for _ in range(SPOILED_BYTES):
        data, keys = encoded(random)
        questions += [as_question(spoiled_bytes(random, data)), bot_question(random, keys)]
    verdicts = ["refused" in answer for answer in compare(client, questions)[::2]]
    assert 0 < sum(verdicts) < SPOILED_BYTES
