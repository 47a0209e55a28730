"""One zygote a framework, and one replica a kind that many tests only ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from botshard.sharding.ids import PoolName
from tests.kserve_runtimes.behaviour.kinds import KINDS, Kind
from tests.kserve_runtimes.bot_folders import OWN_CLASS, linear_weights
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Answer, Replica
from tests.kserve_runtimes.zygotes import Zygote

Rows = NDArray[np.float32]


class Zygotes:
    """A zygote a framework, started when one of it is wanted first."""

    def __init__(self, folder: Path, torch: Zygote, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._started = {"torch": torch}

    def __getitem__(self, framework: str) -> Zygote:
        if framework not in self._started:
            log = self._folder / f"{framework}.log"
            zygote = self._stack.enter_context(Zygote(log, framework=framework))
            zygote.wait_ready()
            self._started[framework] = zygote
        return self._started[framework]


@dataclass(frozen=True, slots=True)
class Served:
    """A realtime pool of one kind: `linear`, and `broken`, whose files are damaged."""

    kind: Kind
    fleet: Fleet
    replica: Replica
    pool: PoolName

    def multiply(self, rows: Rows) -> Answer:
        """What `linear` makes of rows."""
        tensor = {"name": "x", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
        return self.replica.post("/v2/models/linear/infer", {"inputs": [tensor]})


def expected(rows: Rows, seed: int = 1) -> Rows:
    """What the linear model of a seed makes of rows."""
    return rows @ linear_weights(seed).T


@pytest.fixture(scope="session")
def zygotes(torch_zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygotes]:
    """Zygotes by framework."""
    with ExitStack() as stack:
        yield Zygotes(tmp_path_factory.mktemp("zygotes"), torch_zygote, stack)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where folders of bots are written; models that take seconds to make are made once."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of model."""
    return KINDS[request.param]


@pytest.fixture(scope="session")
def served(kind: Kind, zygotes: Zygotes, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A replica that is only asked, never changed."""
    fleet = Fleet(tmp_path_factory.mktemp(f"served-{kind.name}") / "fleet")
    fleet.publish(kind.make(models, "linear", "realtime", 1), kind.make(models, "broken", "realtime", 5))
    fleet.damage("broken")
    pool = pool_of("realtime", kind.framework)
    fleet.publish_table({key_of("realtime", kind.framework): [pool]})
    with replica_of(kind, zygotes, fleet, pool, threads=2) as replica:
        yield Served(kind, fleet, replica.wait_ready(), pool)
    fleet.close()


def replica_of(kind: Kind, zygotes: Zygotes, fleet: Fleet, pool: PoolName, *, threads: int = 1) -> Replica:
    """A replica of a pool of this kind."""
    zygote = zygotes[kind.framework]
    return Replica(
        zygote, fleet, pool, framework=kind.framework, RUNTIME_MODEL_CLASSES=OWN_CLASS, RUNTIME_THREADS=str(threads)
    )
