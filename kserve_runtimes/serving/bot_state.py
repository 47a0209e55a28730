"""`GET /pool/bots/{bot}`: all that a replica knows of one of its bots, exact as of now. It loads nothing."""

from __future__ import annotations

from time import monotonic

from kserve_runtimes.core.costs import BotCosts
from kserve_runtimes.core.failures import Failure
from kserve_runtimes.core.pool import Call, Pool
from kserve_runtimes.core.resident import Resident
from kserve_runtimes.serving.messages import Answer, json_answer

__all__ = ["bot_state"]


async def bot_state(pool: Pool, call: Call, /) -> Answer:
    """The bot's state, costs and last failure. Raises: what `Pool.locate` raises."""
    return json_answer(_document(await pool.locate(call)))


def _document(entry: Resident) -> dict[str, object]:
    slot = entry.slot
    running = sum(one.pins for one in entry.slots())
    return {
        "bot": entry.id,
        "state": str(entry.state),
        "version": slot.bot.version.number if slot else None,
        "wantedVersion": entry.wanted.number,
        "bytes": slot.bot.footprint_bytes if slot else entry.known_bytes,
        "loadS": _rounded(slot.load_s) if slot else None,
        "queue": {"waitingForLoad": entry.waiting, "waitingOrRunning": running},
        "costs": _costs(entry.costs) if entry.costs else None,
        "failure": _failure(entry.failure) if entry.failure else None,
    }


def _costs(costs: BotCosts) -> dict[str, object]:
    requests = max(costs.requests, 1)
    stages = {"queue": costs.queue_s, "pre": costs.pre_s, "predict": costs.predict_s, "post": costs.post_s}
    return {
        "sinceS": costs.since_s,
        "requests": costs.requests,
        "rows": costs.rows,
        "cpuS": _rounded(costs.cpu_s),
        "cpuPerRowS": _rounded(costs.cpu_s / costs.rows) if costs.rows else None,
        "meanS": {stage: _rounded(sum_s / requests) for stage, sum_s in stages.items()},
        "usualWorkS": _rounded(costs.work_s),
        "runsOnLoop": costs.usual is not None and costs.usual.is_quick,
    }


def _failure(failure: Failure) -> dict[str, object]:
    return {
        "version": failure.version,
        "reason": failure.reason,
        "attempts": failure.attempts,
        "retryInS": round(max(failure.retry_at_s - monotonic(), 0.0), 3),
    }


def _rounded(seconds: float) -> float:
    """To a tenth of a microsecond."""
    return round(seconds, 7)
