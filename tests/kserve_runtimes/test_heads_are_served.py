"""Bots on a backbone, served by real replicas: many of them at once, each with its own answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from botshard.bots.backbones import publish_backbone
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.hashing import family_id, pool_name
from botshard.sharding.ids import Framework, GroupName, PoolName
from botshard.store.layout import backbone_key
from kserve_runtimes.torch.word_pieces import WordPieces
from tests.encoders import LABELS, TINY, Reference, head_folder, reference_head, write_encoder
from tests.kserve_runtimes.fleet import REALTIME, SLEEPY, Fleet
from tests.kserve_runtimes.replicas import Answer, Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

BOTS = 12
TEXTS = ("hello", "when do you open?", "", "goodbye goodbye xyz 123", "the bank ünknown " * 9, "Hello")


def _pool(group: GroupName) -> tuple[FamilyKey, PoolName]:
    key = FamilyKey(group, Framework("torch"), "tiny")
    return key, pool_name(group, family_id(key), 0)


@dataclass(frozen=True, slots=True)
class Heads:
    """A store with an encoder and a dozen bots on it, of two shapes."""

    fleet: Fleet
    encoder: Path
    folders: dict[str, Path]

    def wanted(self, bot: str, text: str) -> list[float]:
        """The probabilities that a bot answers, computed apart."""
        tokens = WordPieces(self.encoder / "vocab.txt", TINY)(text)
        scores = reference_head(self.folders[bot], Reference(self.encoder, TINY)(tokens))
        powers = np.exp(scores - scores.max())
        return [float(value) for value in powers / powers.sum()]


def _heads(root: Path, group: GroupName) -> Heads:
    fleet = Fleet(root / "fleet")
    encoder = write_encoder(root / "encoder")
    publish_backbone(fleet.store, "tiny", encoder, now_s=1)
    shapes = ((12, 8, 3), (12, 3))
    folders = {
        f"bot-{number}": head_folder(root, f"bot-{number}", seed=number, layers=shapes[number % 2], group=group)
        for number in range(BOTS)
    }
    fleet.publish(*folders.values())
    key, pool = _pool(group)
    fleet.publish_table({key: [pool]})
    return Heads(fleet, encoder, folders)


@pytest.fixture
def heads(tmp_path: Path) -> Iterator[Heads]:
    """In a realtime pool."""
    heads = _heads(tmp_path, REALTIME)
    yield heads
    heads.fleet.close()


def _check(heads: Heads, bot: str, text: str, answer: Answer) -> None:
    assert answer.status == 200, answer.body
    label, probabilities = answer.json["outputs"]
    wanted = heads.wanted(bot, text)
    assert np.abs(np.array(probabilities["data"]) - wanted).max() <= 1e-5
    assert label["data"] == [LABELS[int(np.argmax(wanted))]]


def test_bots_on_one_encoder_answer_together(torch_zygote: Zygote, heads: Heads) -> None:
    """Two hundred requests of all bots, sixteen at once; each gets its own head's answer, and a bad one is alone."""
    _, pool = _pool(REALTIME)
    rng = random.Random(7)
    requests = [(rng.choice(list(heads.folders)), rng.choice(TEXTS)) for _ in range(200)]
    with Replica(torch_zygote, heads.fleet, pool) as replica, ThreadPoolExecutor(16) as threads:
        replica.wait_ready()
        assert replica.bots()["resident"] == BOTS
        bad = [threads.submit(replica.ask, "bot-3", "x" * 20_000) for _ in range(4)]
        asked = [(bot, text, threads.submit(replica.ask, bot, text)) for bot, text in requests]
        for bot, text, answer in asked:
            _check(heads, bot, text, answer.result())
        assert {answer.result().status for answer in bad} == {400}
        assert "at most 16384" in bad[0].result().error
        body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": ["hello", "goodbye"]}]}
        several = replica.post("/v2/models/bot-0/infer", body).json["outputs"][1]
        assert (several["shape"], len(several["data"])) == ([2, 3], 6)


def test_an_encoder_counts_once_in_a_pools_memory(torch_zygote: Zygote, heads: Heads) -> None:
    """A replica's bytes are those of the encoder and of all heads; a bot's bytes are those of its own head."""
    _, pool = _pool(REALTIME)
    with Replica(torch_zygote, heads.fleet, pool, RUNTIME_REPORT_INTERVAL_S="0.3") as replica:
        replica.wait_ready()
        eventually(lambda: (found := heads.fleet.report(pool, "r-1")) is not None and len(found.bots) == BOTS)
        report = heads.fleet.report(pool, "r-1")
        assert report is not None
        own = sum(bot.footprint_bytes for bot in report.bots.values())
        weights = sum(4 * int(np.prod(shape)) for shape in TINY.tensors.values())
        assert 0 < report.resident_bytes - own - weights < 100 * 1024
        assert max(bot.footprint_bytes for bot in report.bots.values()) < 20_000


def test_a_pool_of_little_memory_swaps_heads_and_keeps_the_encoder(torch_zygote: Zygote, tmp_path: Path) -> None:
    """Heads come and go within what the encoder leaves, and every answer is right."""
    heads = _heads(tmp_path, SLEEPY)
    _, pool = _pool(SLEEPY)
    with Replica(torch_zygote, heads.fleet, pool, RUNTIME_POOL_MEMORY="44Ki", RUNTIME_ENCODING_CACHE="4Ki") as replica:
        replica.wait_ready()
        for bot in [*heads.folders, *heads.folders]:
            _check(heads, bot, "when do you open?", replica.ask(bot, "when do you open?"))
        assert replica.metric("botshard_evictions_total", reason="room") > 0
        assert replica.metric("botshard_resident_bytes") <= 44 * 1024
    heads.fleet.close()


def test_a_backbone_that_does_not_fit_is_told(torch_zygote: Zygote, tmp_path: Path) -> None:
    """The bot's failure has both numbers, and nothing waits for ever."""
    heads = _heads(tmp_path, SLEEPY)
    _, pool = _pool(SLEEPY)
    with Replica(torch_zygote, heads.fleet, pool, RUNTIME_POOL_MEMORY="8Ki") as replica:
        replica.wait_ready()
        answer = replica.ask("bot-1", "hello")
        assert (answer.status, "with its backbone" in answer.error) == (503, True)
        assert "its pool has 8.0 KiB" in answer.error
    heads.fleet.close()


def test_a_missing_backbone_is_the_reason_of_a_failed_load(torch_zygote: Zygote, heads: Heads) -> None:
    """The replica lives, says which backbone it lacks, and serves as soon as it is there."""
    record = heads.fleet.store.get(backbone_key("tiny")).data
    heads.fleet.store.delete(backbone_key("tiny"))
    _, pool = _pool(REALTIME)
    with Replica(torch_zygote, heads.fleet, pool) as replica:
        replica.wait_ready()
        answer = replica.ask("bot-1", "hello")
        assert (answer.status, "there is no backbone 'tiny'" in answer.error) == (503, True)
        heads.fleet.store.put(backbone_key("tiny"), record)
        eventually(lambda: replica.ask("bot-1", "hello").status == 200, within_s=20)


def test_a_device_that_is_not_there_is_refused(torch_zygote: Zygote, heads: Heads, tmp_path: Path) -> None:
    """`RUNTIME_DEVICE=cuda` without a GPU ends the start, with a reason in the log."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    _, pool = _pool(REALTIME)
    replica = Replica(torch_zygote, heads.fleet, pool, RUNTIME_DEVICE="cuda")
    assert replica.stop(how=None) == 1
    assert "PyTorch sees no GPU here" in torch_zygote.log.read_text()
