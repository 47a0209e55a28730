"""Which bots are planned."""

from __future__ import annotations

from collections import Counter

import pytest

from botshard.sharding.ids import check_bot_id, check_tenant_id
from examples.bots import FAMILIES, BotPlan, plan_bots, plan_heads
from examples.corpus import Corpus, own_phrases
from examples.folders import spec_of
from examples.hyperparameters import Hyperparameters
from examples.lessons import lesson_of


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return own_phrases()


@pytest.fixture(scope="module")
def plans(corpus: Corpus) -> list[BotPlan]:
    return plan_bots(corpus)


def test_there_are_216_bots_in_equal_families(plans: list[BotPlan]) -> None:
    """Four families, 54 bots each."""
    assert Counter((plan.group, plan.framework) for plan in plans) == dict.fromkeys(FAMILIES, 54)


def test_ids_are_unique_and_valid(plans: list[BotPlan]) -> None:
    """Each bot has an id and a tenant that the product accepts."""
    assert len({plan.id for plan in plans}) == len(plans)
    assert [check_bot_id(plan.id) or check_tenant_id(plan.tenant) for plan in plans] == [None] * len(plans)


def test_bots_know_four_to_eight_intents_of_their_domains(corpus: Corpus, plans: list[BotPlan]) -> None:
    """Intents come from every one of a bot's one or two domains and from no other."""
    for plan in plans:
        sources = {domain for domain in plan.domains if set(corpus.domains[domain]) & set(plan.intents)}
        known = {intent for domain in plan.domains for intent in corpus.domains[domain]}
        assert sources == set(plan.domains)
        assert set(plan.intents) <= known
        assert 4 <= len(set(plan.intents)) == len(plan.intents) <= 8


def test_each_format_is_there(plans: list[BotPlan]) -> None:
    """Most bots have their framework's usual format, two a framework the other one."""
    assert Counter(plan.format for plan in plans) == {
        "safetensors": 106, "keras": 106, "torch-export": 2, "savedmodel": 2,
    }  # fmt: skip


def test_plans_depend_on_the_seed_alone(corpus: Corpus, plans: list[BotPlan]) -> None:
    """The same seed gives the same bots, fewer are the first of more, another seed gives others."""
    assert plan_bots(corpus) == plans
    assert plan_bots(corpus, 10) == plans[:10]
    assert plan_bots(corpus, seed=2) != plans


def test_specs_are_what_the_product_reads(plans: list[BotPlan]) -> None:
    """A plan's spec has its family, and its labels are one more than its intents."""
    for plan in plans[:20]:
        spec = spec_of(plan, Hyperparameters())
        assert (spec.id, spec.group, spec.framework) == (plan.id, plan.group, plan.framework)
        assert spec.outputs[1].shape == (-1, len(plan.intents) + 1)


def test_lessons_ask_what_they_did_not_teach(corpus: Corpus, plans: list[BotPlan]) -> None:
    """A bot is asked phrases of each of its labels, and none that it learned from."""
    for plan in plans[:20]:
        lesson = lesson_of(plan, corpus, Hyperparameters())
        assert not set(lesson.texts) & set(lesson.asked)
        assert set(lesson.answers) == set(plan.labels) | ({"handover"} if plan.hands_over else set())
        assert len(lesson.texts) == len(lesson.classes) == len(lesson.weights)
        assert set(lesson.classes) == set(range(len(plan.labels)))


def test_heads_are_planned_for_one_backbone(corpus: Corpus) -> None:
    """Forty bots of two families, each a network over what the encoder makes of a text, with no features of its own."""
    plans = plan_heads(corpus, "minilm")
    assert Counter((plan.group, plan.framework, plan.format, plan.backbone) for plan in plans) == {
        (group, "torch", "safetensors", "minilm"): 20 for group in ("realtime", "non-realtime")
    }
    assert len({plan.id for plan in plans}) == 40
    spec = spec_of(plans[0], Hyperparameters(features=384))
    assert (spec.backbone, spec.preprocess) == ("minilm", ())
    assert spec.model["architecture"]["layers"][0] == 384  # type: ignore[index]
