"""The access log, errors by cause, the busiest bots, and what a router tells of a bot."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from botshard.bots.strict_yaml import read_yaml
from router.telemetry.busiest import EVERY, BusiestBots
from router.telemetry.causes import cause_of
from router.telemetry.settings import TelemetrySettings
from tests.router.fleet import SLEEPY, Fleet, pool
from tests.router.running import running_router
from tests.router.upstreams import Call, infer_answer, plain, upstream

_ROOT = Path(__file__).resolve().parents[2]
_TRACE = "0af7651916cd43dd8448eb211c80319c"
_COLD = "up;dur=20.000, all;dur=18.000, wait;dur=1.000, fetch;dur=2.000, load;dur=10.000, queue;dur=1.500, "
_COLD += "pre;dur=0.500, predict;dur=2.000, post;dur=0.500, batch;desc=1"


def _events(caplog: pytest.LogCaptureFixture) -> list[Mapping[str, Any]]:
    return [record.botshard_fields for record in caplog.records if record.name == "router.proxy"]  # type: ignore[attr-defined]


async def test_a_line_tells_all_of_a_request_and_no_secret(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Who, what, how much, how long, where, how often tried; never a credential or what a query holds."""
    caplog.set_level(logging.INFO)
    fleet.publish_bots("bot")

    async def answer(call: Call) -> None:
        is_first = len(calls.calls) == 1
        await call.write(plain(b"none", 502, content_type="text/plain") if is_first else infer_answer("bot"))

    async with upstream(answer) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet, telemetry=TelemetrySettings(access_log_share=1.0)) as router:
            headers = {
                "authorization": "Bearer hush",
                "x-api-key": "hush",
                "traceparent": f"00-{_TRACE}-{_TRACE[:16]}-00",
            }
            sent = {**headers, "x-request-id": "r-1"}
            answered = await router.client.post("/v2/models/bot/infer?key=hush", content=b"12345", headers=sent)
    (event,) = _events(caplog)
    took_s = event["took_s"]
    assert 0 < took_s < 10
    assert event == {
        "method": "POST", "path": "/v2/models/bot/infer", "bot": "bot", "status": 200, "bytes_in": 5,
        "bytes_out": len(answered.content), "took_s": took_s, "pool": pool(), "tries": 2, "hop": "pool",
        "request_id": "r-1", "trace_id": _TRACE,
    }  # fmt: skip
    ours = [record for record in caplog.records if record.name.startswith("router")]
    assert "hush" not in str([vars(record) for record in ours])


@pytest.mark.parametrize(
    ("bot", "answer", "status", "hop", "cause", "tries"),
    [
        ("nobody", infer_answer("bot"), 404, "router", "unknown_bot", 0),
        ("bot", plain(b"away", 502, content_type="text/plain"), 503, "router", "gateway", 8),
        ("homeless", infer_answer("bot"), 503, "router", "no_pool", 0),
    ],
    ids=["unknown", "gateway", "no pool"],
)
async def test_failures_are_told_where_nothing_else_is(
    fleet: Fleet,
    caplog: pytest.LogCaptureFixture,
    *,
    bot: str,
    answer: bytes,
    status: int,
    hop: str,
    cause: str,
    tries: int,
) -> None:
    """With whose answer it was and why, in the log, the metrics and for whoever asks why."""
    caplog.set_level(logging.INFO)
    fleet.publish_bots("bot")
    fleet.publish_bots("homeless", key=SLEEPY)
    async with upstream(answer) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet) as router:
            assert (await router.infer(bot)).status_code == status
            by_cause = await router.metric("botshard_router_errors_total", cause=cause)
            unserved = await router.metric("botshard_router_unserved_total", cause=cause)
            told = await router.client.get(f"/admin/explain/{bot}")
    (event,) = _events(caplog)
    assert (event["status"], event["hop"], event["cause"], event["tries"]) == (status, hop, cause, tries)
    assert (by_cause, unserved) == ((1, 0) if tries else (0, 1))
    if tries:
        (error,) = told.json()["lastErrors"]
        assert (error["cause"], error["status"], error["pool"]) == (cause, status, pool())


async def test_a_share_of_the_requests_is_told(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Half of two hundred, roughly."""
    caplog.set_level(logging.INFO)
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet, telemetry=TelemetrySettings(access_log_share=0.5)) as router:
            for _ in range(200):
                await router.infer("bot")
    assert 50 < len(_events(caplog)) < 150


async def test_answers_of_the_pool_that_are_errors_have_a_cause(fleet: Fleet) -> None:
    """By the class of their status; the bot is among those that fail most."""
    fleet.publish_bots("bot")
    async with upstream(plain(b'{"error":"no"}', 503, x_botshard_epoch="1", retry_after="1")) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet) as router:
            assert (await router.infer("bot")).status_code == 503
            assert await router.metric("botshard_router_errors_total", cause="answer_5xx", pool=pool()) == 1
            assert await router.metric("botshard_router_requests_total", code="5xx", outcome="answered") == 1
            assert (await router.infer("bot")).status_code == 503
            assert await router.metric("botshard_router_bot_errors_total", bot="bot") == 1
            assert await router.metric("botshard_router_bot_errors_total") == 2


async def test_a_load_at_the_pool_is_in_the_ledger(fleet: Fleet) -> None:
    """The replica's part and the router's own make up the time, also where the replica was up before."""
    fleet.publish_bots("bot")
    timing = _COLD.replace("up;dur=20", "up;dur=90000")
    async with upstream(plain(x_botshard_epoch="1", server_timing=timing)) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet) as router:
            answer = await router.infer("bot")
            (cold,) = (await router.client.get("/admin/ledger?bot=bot")).json()["requests"]
            others = (await router.client.get("/admin/ledger?bot=other")).json()["requests"]
            counted = await router.metric("botshard_router_cold_requests_total", waited_for="bot", group="realtime")
            loads = await router.metric("botshard_router_cold_seconds_count", stage="load", group="realtime")
            text = (await router.client.get("/admin/explain/bot?format=text")).text
    stages = cold["stagesS"]
    assert (stages["fetch"], stages["load"], stages["predict"]) == (0.002, 0.01, 0.003)
    assert stages["queue"] == pytest.approx(0.003)
    assert (others, counted, loads) == ([], 1, 1)
    assert "fetch;dur=2.000, load;dur=10.000" in answer.headers["server-timing"]
    assert "batch" not in answer.headers["server-timing"]
    assert "waited for its bot" in text


async def test_a_load_is_in_the_ledger_whichever_way_the_request_went(fleet: Fleet) -> None:
    """Requests that are known by their bytes are sent another way than the first; one of them may be the cold one."""
    fleet.publish_bots("bot")

    async def answer(call: Call) -> None:
        cold = plain(x_botshard_epoch="1", server_timing=_COLD.replace("up;dur=20", "up;dur=90000"))
        await call.write(cold if len(calls.calls) == 6 else plain(x_botshard_epoch="1"))

    async with upstream(answer) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet) as router:
            answers = [await router.infer("bot") for _ in range(7)]
            found = (await router.client.get("/admin/ledger?bot=bot")).json()["requests"]
    assert [one["requestId"] for one in found] == [answers[5].headers["x-request-id"]]
    assert sum(found[0]["stagesS"].values()) == pytest.approx(found[0]["tookS"], abs=0.02)


async def test_an_awake_pool_is_not_cold(fleet: Fleet) -> None:
    """What a replica tells in its first minute is passed on as it is where nothing was waited for."""
    fleet.publish_bots("bot")
    timing = "up;dur=9000.000, all;dur=0.100, wait;dur=0.000, fetch;dur=0.000, load;dur=0.000, queue;dur=0.100"
    async with upstream(plain(x_botshard_epoch="1", server_timing=timing)) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet) as router:
            answer = await router.infer("bot")
            assert (await router.client.get("/admin/ledger")).json() == {"requests": []}
    assert answer.headers["server-timing"] == timing


async def test_a_router_tells_why_a_bot_is_where_it_is(fleet: Fleet) -> None:
    """The same as a document and as sentences; also of bots without a place."""
    fleet.publish_bots("bot")
    fleet.publish_bots("homeless", key=SLEEPY)
    fleet.publish_bots("gone", retired=True)
    async with upstream(infer_answer("bot")) as calls:
        fleet.publish_table(calls.url, "http://127.0.0.1:1")
        async with running_router(fleet) as router:
            await router.infer("bot")
            document = (await router.client.get("/admin/explain/bot")).json()
            text = (await router.client.get("/admin/explain/bot", headers={"accept": "text/plain"})).text
            homeless = (await router.client.get("/admin/explain/homeless")).json()
            gone = (await router.client.get("/admin/explain/gone?format=text")).text
            unknown = await router.client.get("/admin/explain/nobody")
    asked = next(item for item in document["pools"] if item["requests"])
    assert asked["answeredAgoS"] >= 0
    assert [item["rank"] for item in document["ranking"]] == [1, 2]
    assert document["limits"]["requestTimeoutS"] == 5
    assert document["moves"]["goingTo"] == []
    for sentence in (*document["why"], document["now"][-1]):
        assert sentence in text
    assert "no pool yet" in homeless["why"][-1]
    assert "retired" in gone
    assert unknown.status_code == 404


def test_estimates_of_the_busiest_are_near() -> None:
    """Zipf's law over a thousand bots: the first ten are found, each right within four standard deviations."""
    random = Random(7)
    clock_s = [0.0]
    busiest = BusiestBots(20, now_s=lambda: clock_s[0], random=random)
    names = [f"bot-{number}" for number in range(1000)]
    weights = [1 / (number + 1) for number in range(1000)]
    asked = dict.fromkeys(names, 0)
    labelled_at: dict[str, int] = {}
    for number, name in enumerate(random.choices(names, weights, k=200_000)):
        clock_s[0] = number / 1000
        asked[name] += 1
        busiest.left -= 1
        if busiest.left <= 0:
            busiest.sample(name)
        if number % 1000 == 0:
            for label in _counts(busiest):
                labelled_at.setdefault(label, asked.get(label, 0))
    counts = _counts(busiest)
    assert set(names[:10]) <= set(counts)
    assert len(counts) <= 21
    assert sum(counts.values()) == pytest.approx(200_000, rel=0.05)
    for name in names[:5]:
        true = asked[name] - labelled_at[name]
        assert abs(counts[name] - true) < 4 * (EVERY * true) ** 0.5 + 1000


def _counts(busiest: BusiestBots) -> dict[str, float]:
    requests = next(iter(busiest.families()))
    return {sample.labels["bot"]: sample.value for sample in requests.samples}


def test_no_bot_is_counted_where_none_has_a_label() -> None:
    """And nothing is kept of them."""
    busiest = BusiestBots(0, now_s=lambda: 0.0)
    busiest.sample("bot")
    busiest.failed("bot")
    assert _counts(busiest) == {"other": 0}


def test_a_defect_of_the_router_has_one_cause() -> None:
    """However many kinds of exceptions there are."""
    assert cause_of(KeyError("x")) == cause_of(OSError()) == "internal"


async def test_every_metric_is_documented(fleet: Fleet) -> None:
    """Name and labels as in the table; what others document elsewhere stands at least on the router's page."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as calls:
        fleet.publish_table(calls.url)
        async with running_router(fleet) as router:
            await router.infer("bot")
            families = list(text_string_to_metric_families((await router.client.get("/metrics")).text))
    page = (_ROOT / "docs/observability.md").read_text()
    rows = re.findall(r"^\| `(botshard_router_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    table = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    ours = {family.name: family for family in families if family.name.startswith("botshard_")}
    assert table.keys() <= ours.keys()
    elsewhere = (_ROOT / "docs/router.md").read_text()
    assert [name for name in ours if name not in table and name not in elsewhere] == []
    for name, documented in table.items():
        labels = {label for sample in ours[name].samples for label in sample.labels if label != "le"}
        assert labels == documented or not ours[name].samples, name


@pytest.mark.parametrize("page", ["alerts.yaml", "router-dashboard.json"])
def test_dashboard_and_alerts_use_metrics_that_there_are(page: str) -> None:
    """A rule on a metric that nobody writes never fires."""
    text = (_ROOT / "docs/monitoring" / page).read_text()
    used = set(re.findall(r"\bbotshard_router_\w+", text))
    documented = set(re.findall(r"`(botshard_router_\w+)`", (_ROOT / "docs/observability.md").read_text()))
    ends = ("_total", "_bucket", "_sum", "_count")
    assert used
    assert {re.sub(f"({'|'.join(ends)})$", "", name) for name in used} <= documented
    assert read_yaml(text.encode(), page)
