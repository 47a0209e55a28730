"""The TensorFlow runtime: Keras archives and SavedModels in their safe modes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from botshard.sharding.ids import BotId
from tests.kserve_runtimes.bot_folders import (
    keras_folder,
    linear_weights,
    saved_model_folder,
    write_tensorflow_models,
)
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

POOL = pool_of("realtime", "tensorflow")


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replica, Fleet]]:
    """A realtime replica with `keras`, `saved` and `broken`, forked from a zygote with TensorFlow."""
    root = tmp_path_factory.mktemp("tensorflow")
    fleet = Fleet(root / "fleet")
    archive, other, saved = write_tensorflow_models(root / "models")
    fleet.publish(
        keras_folder(root / "bots", "keras", archive),
        saved_model_folder(root / "bots", "saved", saved),
        keras_folder(root / "bots", "broken", other),
    )
    fleet.damage("broken")
    fleet.publish_table({key_of("realtime", "tensorflow"): [POOL]})
    with Zygote(root / "zygote.log", framework="tensorflow") as zygote:
        zygote.wait_ready()
        with Replica(zygote, fleet, POOL, framework="tensorflow") as replica:
            yield replica.wait_ready(), fleet
    fleet.close()


@pytest.mark.parametrize("bot", ["keras", "saved"])
def test_a_bot_answers_as_its_offline_model(replica: tuple[Replica, Fleet], bot: str) -> None:
    """For one row and for several, and the names are the declared ones."""
    rows = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
    for batch in (rows, rows[:1]):
        tensor = {"name": "x", "datatype": "FP32", "shape": list(batch.shape), "data": batch.ravel().tolist()}
        answer = replica[0].post(f"/v2/models/{bot}/infer", {"inputs": [tensor]})
        assert answer.status == 200, answer.body
        (output,) = answer.json["outputs"]
        assert ("y", [len(batch), 2]) == (output["name"], output["shape"])
        assert output["data"] == pytest.approx((batch @ linear_weights(1).T).ravel(), abs=1e-5)


def test_a_broken_archive_harms_no_other(replica: tuple[Replica, Fleet]) -> None:
    """It says why, and the pool is ready without it."""
    answer = replica[0].multiply("broken")
    assert (answer.status, "is damaged" in answer.error) == (503, True)
    assert replica[0].bots() == {"absent": 0, "loading": 0, "resident": 2, "draining": 0, "failed": 1}


def test_footprints_are_measured(replica: tuple[Replica, Fleet]) -> None:
    """Weights and the traced graph."""

    def told() -> bool:
        report = replica[1].report(POOL, "r-1")
        assert report is not None
        return all(report.bots[BotId(bot)].footprint_bytes > 4 * 2 * 4 for bot in ("keras", "saved"))

    eventually(told)


def test_metadata_names_framework_and_format(replica: tuple[Replica, Fleet]) -> None:
    """`platform` tells what runs."""
    platforms = [replica[0].get(f"/v2/models/{bot}").json["platform"] for bot in ("keras", "saved")]
    assert platforms == ["tensorflow_keras", "tensorflow_savedmodel"]
