"""Which bots there are: each answers for a few intents of one or two domains, for one tenant."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from examples.corpus import Corpus

__all__ = [
    "DEFAULT_COUNT",
    "DEFAULT_HEADS",
    "FAMILIES",
    "HAND_OVER",
    "HAND_OVER_PATTERN",
    "OUT_OF_SCOPE",
    "BotPlan",
    "plan_bots",
    "plan_heads",
]

DEFAULT_COUNT: Final = 216
DEFAULT_HEADS: Final = 40
OUT_OF_SCOPE: Final = "out-of-scope"
"""The label of what a bot is not there for."""
HAND_OVER: Final = "handover"
"""The label of somebody who wants a person instead of a bot."""
HAND_OVER_PATTERN: Final = r"(?i)\b(talk|speak|chat) (to|with) (a |an )?(real |live )?(human|person|agent|advisor)\b"

FAMILIES: Final = tuple(product(("realtime", "non-realtime"), ("torch", "tensorflow")))
"""`(pool group, framework)`: bots of one family may share a pool."""
_FORMATS: Final = {"torch": ("safetensors", "torch-export"), "tensorflow": ("keras", "savedmodel")}
"""By framework: the format of most bots, and another one of which a few are written."""
_IN_OTHER_FORMAT: Final = 1
"""So many bots of each family: they take a hundred times longer to write."""

_LEAST_INTENTS, _MOST_INTENTS = 4, 8
_TWO_DOMAINS_SHARE: Final = 0.4
_HAND_OVER_EVERY: Final = 5
_TENANTS: Final = (
    "acme", "alder", "birch", "bluebird", "brightside", "cedar", "corvid", "dovetail", "eastgate", "ember", "fernhill",
    "foxglove", "greenway", "harbour", "heron", "ivory", "juniper", "kestrel", "lakeside", "lumen", "marigold",
    "meridian", "northwind", "oakley", "orchard", "pinewood", "quill", "redwood", "riverside", "saffron", "summit",
    "tamarind", "thistle", "umber", "verdant", "willow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BotPlan:
    """One bot before it is trained."""

    id: str
    tenant: str
    group: str
    framework: str
    format: str
    """Of its model file: `safetensors`, `torch-export`, `keras` or `savedmodel`."""
    domains: tuple[str, ...]
    intents: tuple[str, ...]
    """What it tells apart, sorted."""
    hands_over: bool
    """Whether a rule recognises, before any model's opinion, who wants to talk to a person."""
    backbone: str | None = None
    """The encoder that it is a head on; None: it makes its own features."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the network, in their order: the intents, and out-of-scope as one more."""
        return (*self.intents, OUT_OF_SCOPE)


def plan_bots(corpus: Corpus, count: int = DEFAULT_COUNT, seed: int = 1) -> list[BotPlan]:
    """`count` bots, the same ones for the same arguments, in equal shares of the four families."""
    rng = random.Random(seed)  # noqa: S311 - makes examples, keeps no secret
    return [_plan(corpus, index, rng) for index in range(count)]


def plan_heads(corpus: Corpus, backbone: str, count: int = DEFAULT_HEADS, seed: int = 1) -> list[BotPlan]:
    """`count` bots on a backbone, the same ones for the same arguments, in equal shares of its two families."""
    plans = plan_bots(corpus, 2 * count, seed)
    return [
        replace(plan, framework="torch", format="safetensors", backbone=backbone)
        for plan in plans
        if plan.framework == "torch"
    ]


def _plan(corpus: Corpus, index: int, rng: random.Random) -> BotPlan:
    group, framework = FAMILIES[index % len(FAMILIES)]
    domains = tuple(sorted(rng.sample(sorted(corpus.domains), 2 if rng.random() < _TWO_DOMAINS_SHARE else 1)))
    tenant = rng.choice(_TENANTS)
    usual, other = _FORMATS[framework]
    return BotPlan(
        id="-".join((tenant, *domains, f"{index + 1:03}")).replace("_", "-"),
        tenant=tenant,
        group=group,
        framework=framework,
        format=other if index // len(FAMILIES) < _IN_OTHER_FORMAT else usual,
        domains=domains,
        intents=_some_intents([sorted(corpus.domains[domain]) for domain in domains], rng),
        hands_over=index % _HAND_OVER_EVERY == 0,
    )


def _some_intents(intents: Sequence[Sequence[str]], rng: random.Random) -> tuple[str, ...]:
    """Intents of each of the domains; a domain may have fewer than are wanted."""
    known = [name for names in intents for name in names]
    wanted = min(rng.randint(_LEAST_INTENTS, _MOST_INTENTS), len(known))
    first = [rng.choice(names) for names in intents]
    rest = [name for name in known if name not in first]
    return tuple(sorted(first + rng.sample(rest, wanted - len(first))))
