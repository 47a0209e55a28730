"""A bot's sample request runs before the bot is served, and a version that fails it replaces nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from botshard.oip.tensors import Array
from botshard.processing.pipeline import Pipeline
from botshard.sharding.catalog import BotSpec, FamilyKey, TensorSpec, Version
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId, VersionNumber
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import SampleFailedError
from kserve_runtimes.core.warm_up import made_up_row, warm_up
from tests.kserve_runtimes.bot_folders import linear_folder, linear_weights
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

KEY = FamilyKey(GroupName("realtime"), Framework("torch"))
SAMPLE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [3.0, 4.0]}]}


class _Model:
    """A model that is a function, and counts its runs."""

    together = None
    footprint_bytes = 100

    def __init__(self, predict: Callable[[Mapping[str, Array]], Mapping[str, Array]]) -> None:
        self._predict = predict
        self.asked: list[Mapping[str, Array]] = []

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """Its function's outputs."""
        self.asked.append(inputs)
        return self._predict(inputs)


def _fails(_: Mapping[str, Array]) -> Mapping[str, Array]:
    raise KeyError("weights")


def _bot(model: _Model, *inputs: TensorSpec, sample: str | None = None) -> LoadedBot:
    declared = inputs or (TensorSpec("x", "FP32", (-1, 1)),)
    outputs = (TensorSpec("y", "FP32", (-1, 1)),)
    spec = BotSpec(BotId("one"), TenantId("acme"), KEY.group, KEY.framework, declared, outputs, {}, sample=sample)
    version = Version(VersionNumber(1), "0" * 64, 100, KEY, 0)
    return LoadedBot(version=version, spec=spec, pipeline=Pipeline(declared, outputs, (), (), (), ()), model=model)


def _doubled(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    return {"y": inputs["x"] * 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact's folder with a sample of two rows."""
    (tmp_path / "sample.json").write_text(json.dumps(SAMPLE))
    return tmp_path


def test_the_sample_runs_until_it_is_warm(folder: Path) -> None:
    """More than once, with the author's own values, and how long it takes is noted."""
    model = _Model(_doubled)
    bot = _bot(model, sample="sample.json")
    warm_up(bot, folder)
    assert len(model.asked) >= 2
    assert model.asked[0]["x"].tolist() == [[3.0], [4.0]]
    assert 0 < bot.sample_s < 1


@pytest.mark.parametrize(
    ("predict", "reason"),
    [
        (_fails, "its own sample request fails: KeyError: 'weights'"),
        (lambda inputs: {"y": inputs["x"] * math.nan}, "its own sample request fails: output 'y': holds NaN"),
        (lambda inputs: {"y": inputs["x"][:1]}, "its own sample request fails: "),
    ],
    ids=["raises", "gives-nan", "gives-too-few-rows"],
)
def test_a_bot_that_fails_its_sample_is_refused_with_the_reason(
    folder: Path, predict: Callable[[Mapping[str, Array]], Mapping[str, Array]], reason: str
) -> None:
    """Whatever a client would get an error for: the model, the steps, an answer that cannot be written."""
    with pytest.raises(SampleFailedError) as caught:
        warm_up(_bot(_Model(predict), sample="sample.json"), folder)
    assert str(caught.value).startswith(reason)


def test_a_slow_bot_is_run_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not run again only to learn that it is slow."""
    monkeypatch.setattr("kserve_runtimes.core.warm_up._PATIENCE_S", 0.0)
    model = _Model(_doubled)
    bot = _bot(model, sample="sample.json")
    warm_up(bot, folder)
    assert len(model.asked) == 1
    assert bot.sample_s > 0


def test_without_a_sample_a_row_is_made_up(folder: Path) -> None:
    """Zeros, short texts, 1 where a size is free."""
    inputs = (TensorSpec("x", "FP32", (-1, 1)), TensorSpec("t", "BYTES", (-1, 2)), TensorSpec("n", "INT64", (-1, -1)))
    model = _Model(_doubled)
    bot = _bot(model, *inputs)
    warm_up(bot, folder)
    asked = model.asked[0]
    assert asked["x"].tolist() == [[0.0]]
    assert asked["t"].tolist() == [[b"hello", b"hello"]]
    assert asked["n"].tolist() == [[0]]
    assert asked["n"].dtype == np.dtype(np.int64)
    assert bot.sample_s > 0


def test_a_row_that_was_made_up_proves_nothing(folder: Path) -> None:
    """A bot that refuses it is served; how long it takes is not known then."""
    bot = _bot(_Model(_fails))
    warm_up(bot, folder)
    assert bot.sample_s == 0


def test_a_large_row_is_not_made_up(folder: Path) -> None:
    """Nothing is run then."""
    model = _Model(_doubled)
    bot = _bot(model, TensorSpec("x", "FP32", (-1, 4096, 4096)))
    assert made_up_row(bot.spec) is None
    warm_up(bot, folder)
    assert not model.asked


def _write_sample(folder: Path, **more: Any) -> Path:
    document = yaml.safe_load((folder / "bot.yaml").read_text())
    row = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0], **more}
    (folder / "bot.yaml").write_text(yaml.safe_dump({**document, "sample": "sample.json"}))
    (folder / "sample.json").write_text(json.dumps({"inputs": [row]}))
    return folder


def test_a_version_that_fails_its_sample_never_replaces_a_good_one(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """The old one goes on, the report says why, and a good version after it takes over."""
    key, pool = key_of("realtime", "torch"), pool_of("realtime", "torch")
    fleet.publish(_write_sample(linear_folder(tmp_path, "one")))
    fleet.publish_table({key: [pool]})
    with Replica(torch_zygote, fleet, pool, RUNTIME_REPORT_INTERVAL_S="0.3") as replica:
        replica.wait_ready()
        before = replica.multiply("one").json["outputs"]
        broken = _write_sample(linear_folder(tmp_path, "one", seed=2))
        weights = linear_weights(2)
        weights[0, 0] = math.nan
        save_file({"weight": weights}, broken / "model.safetensors")
        fleet.publish(broken)

        def reason() -> str | None:
            report = fleet.report(pool, replica.name)
            return report.bots[BotId("one")].error if report is not None else None

        told = eventually(reason, within_s=5.0)
        assert told is not None
        assert told.startswith("version 2 cannot be loaded, 1 goes on: its own sample request fails: output 'y': holds")
        answer = replica.multiply("one")
        assert (answer.headers["x-botshard-bot-version"], answer.json["outputs"]) == ("1", before)
        fleet.publish(_write_sample(linear_folder(tmp_path, "one", seed=3)))
        eventually(lambda: replica.multiply("one").headers.get("x-botshard-bot-version") == "3", within_s=5.0)
