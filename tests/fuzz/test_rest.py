"""Requests that the descriptions of the API allow, and some that they do not, against a real replica."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fuzz.rest import BOTS, PROTOCOL
from fuzz.rest_attack import attack
from tests.kserve_runtimes.bot_folders import text_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Program, Replica

_BOTS = {"text": BOTS["text"]}
_CASES = 200


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """With one bot of text."""
    root = tmp_path_factory.mktemp("attacked")
    fleet = Fleet(root / "fleet")
    fleet.publish(text_folder(root / "bots", "text"))
    pool = pool_of("realtime", "torch")
    fleet.publish_table({key_of("realtime", "torch"): [pool]})
    with Replica(Program(root / "log.txt"), fleet, pool) as replica:
        yield replica.wait_ready()
    fleet.close()


def _protocol(_: Replica) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(Path(PROTOCOL).read_text("utf-8"))
    return document


def _own(replica: Replica) -> dict[str, Any]:
    document: dict[str, Any] = replica.get("/openapi.json").json
    return document


@pytest.mark.parametrize("description", [_protocol, _own], ids=["the protocol's", "its own"])
@pytest.mark.filterwarnings("ignore")  # of the tool's, not ours
def test_whatever_a_description_allows_is_answered(replica: Replica, description: Any) -> None:
    """No 500, no hang, errors in the protocol's form, answers as the description has them."""
    seen = attack(replica.url, description(replica), bots=_BOTS, cases=_CASES, seed=1)
    assert seen.found == []
    assert seen.cases > _CASES // 2
    assert seen.statuses[200] > 0
