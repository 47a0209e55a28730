"""Fixtures of the runtime's tests: two zygotes a run, and one replica that many tests only ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from botshard.sharding.ids import PoolName
from tests.kserve_runtimes.bot_folders import export_folder, linear_folder, text_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.servers import free_port


@dataclass(frozen=True, slots=True)
class Served:
    """A realtime pool of PyTorch bots: `text`, `linear`, `exported`, and `broken`, whose weights are damaged."""

    fleet: Fleet
    replica: Replica
    pool: PoolName
    grpc_port: int


@pytest.fixture(scope="session")
def torch_zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """A zygote with PyTorch."""
    with Zygote(tmp_path_factory.mktemp("zygote") / "torch.log") as zygote:
        zygote.wait_ready()
        yield zygote


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """An empty store."""
    fleet = Fleet(tmp_path / "fleet")
    yield fleet
    fleet.close()


@pytest.fixture(scope="session")
def served(torch_zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A replica that is only asked, never changed."""
    root = tmp_path_factory.mktemp("served")
    fleet = Fleet(root / "fleet")
    bots = root / "bots"
    fleet.publish(
        text_folder(bots, "text"),
        linear_folder(bots, "linear"),
        export_folder(bots, "exported"),
        linear_folder(bots, "broken", seed=99),
        text_folder(bots, "elsewhere", group="non-realtime"),
    )
    fleet.damage("broken")
    pool = pool_of("realtime", "torch")
    fleet.publish_table(
        {key_of("realtime", "torch"): [pool], key_of("non-realtime", "torch"): [PoolName("other-pool")]}
    )
    port = free_port()
    with Replica(torch_zygote, fleet, pool, RUNTIME_GRPC_PORT=str(port), RUNTIME_MAX_BODY="64Ki") as replica:
        yield Served(fleet, replica.wait_ready(), pool, port)
    fleet.close()
