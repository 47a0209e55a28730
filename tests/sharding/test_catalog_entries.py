"""What a catalog entry says about a bot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from botshard.sharding.catalog import Bot, BotSpec, FamilyKey, Rollout, Version
from botshard.sharding.errors import CallerError
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId, VersionNumber
from tests.sharding.building import TORCH

BOT = Bot(
    BotId("acme-banking"),
    TenantId("acme"),
    tuple(Version(VersionNumber(number), f"{number}" * 64, 10, TORCH, 0) for number in (1, 2, 5)),
)


@pytest.mark.parametrize(("rollout", "served"), [(None, 5), (1, 1), (2, 2), (5, 5)], ids=str)
def test_the_rollout_names_the_version_that_serves(rollout: int | None, served: int) -> None:
    """A fixed one, or the newest."""
    version = None if rollout is None else VersionNumber(rollout)
    assert replace(BOT, rollout=Rollout(version)).serving.number == served
    assert BOT.latest.number == 5


def test_a_rollout_to_nowhere_is_our_own_mistake() -> None:
    """A decoded entry was checked for that."""
    with pytest.raises(CallerError, match="version 3, which does not exist"):
        _ = replace(BOT, rollout=Rollout(VersionNumber(3))).serving


def test_a_spec_knows_its_family() -> None:
    """Group, framework, backbone and pin, and nothing else."""
    spec = BotSpec(
        BOT.id, BOT.tenant, GroupName("realtime"), Framework("torch"), (), (), {}, backbone="minilm", pin="vip"
    )
    assert spec.family_key == FamilyKey(GroupName("realtime"), Framework("torch"), "minilm", "vip")
