"""Answers about the pool and its bots: health, metadata, the repository extension."""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder

from botshard import __version__
from botshard.oip.errors import InvalidInputError
from botshard.oip.metadata import IndexEntry, model_metadata, repository_index, server_metadata
from botshard.sharding.residency import Residency
from kserve_runtimes.core.errors import LoadFailedError, UnknownVersionError
from kserve_runtimes.core.pool import Call, Pool
from kserve_runtimes.core.resident import Resident
from kserve_runtimes.serving.messages import Answer, Message, Request, json_answer

__all__ = [
    "Message",
    "check_unloadable",
    "index",
    "index_entries",
    "load",
    "metadata",
    "metadata_document",
    "metrics",
    "names",
    "pool_ready",
    "ready",
    "server",
    "unload",
]

_INDEX_STATES = {
    Residency.ABSENT: "UNAVAILABLE",
    Residency.LOADING: "LOADING",
    Residency.RESIDENT: "READY",
    Residency.DRAINING: "UNLOADING",
    Residency.FAILED: "UNAVAILABLE",
}


def pool_ready(pool: Pool, /) -> Answer:
    """Whether traffic may come, with counts for people."""
    counts = {str(state): count for state, count in pool.residents.counts().items()}
    document: dict[str, object] = {
        "ready": pool.is_ready,
        "pool": pool.name,
        "epoch": pool.epoch,
        "warmedEpoch": pool.warmed_epoch,
        "bots": counts,
    }
    if pool.view is not None and pool.view.realtime:
        document |= {"settledShare": round(pool.settled_share, 4), "readyShare": pool.ready_share}
    if not pool.is_ready:
        missing = sum(not entry.settled for entry in pool.residents)
        unread = None if pool.is_complete else "table and catalog were not read yet"
        why = pool.problem or unread or f"{missing} of {len(pool.residents)} bots are not loaded yet"
        document["error"] = f"pool {pool.name} is not ready: {why}"
    return json_answer(document, status=200 if pool.is_ready else 503)


async def server(_: Request, /) -> Answer:
    """What this server is."""
    return json_answer(server_metadata(name="botshard", version=__version__))


async def metrics(pool: Pool, request: Request, /) -> Answer:
    """What Prometheus scrapes, in the form that it asks for."""
    encode, content_type = choose_encoder(request.header("accept") or "")
    return Answer(200, encode(pool.metrics.registry), [(b"content-type", content_type.encode())])


async def names(pool: Pool, /) -> Answer:
    """The bots of this pool."""
    return json_answer({"models": sorted(entry.id for entry in pool.residents)})


async def ready(pool: Pool, call: Call, /) -> Answer:
    """Whether a bot is loaded. Asking for an absent one starts its load, so that asking again comes to an end."""
    entry = await pool.locate(call)
    if entry.slot is None:
        pool.residents.begin(entry)
        failure = entry.failure
        reason = failure.reason if failure is not None else "it is being loaded"
        raise LoadFailedError(entry.id, reason, retry_after_s=1.0)
    serving = entry.slot.bot.version.number
    if call.version is not None and call.version != str(serving):
        raise UnknownVersionError(entry.id, call.version, serving)
    return _with_version(json_answer({"name": entry.id, "ready": True}), serving)


async def metadata(pool: Pool, call: Call, /) -> Answer:
    """A bot's inputs and outputs. It is loaded for that: what it says of itself is in its artifact."""
    document, version = await metadata_document(pool, call)
    return _with_version(json_answer(document), version)


async def metadata_document(pool: Pool, call: Call, /) -> tuple[dict[str, object], int]:
    """The metadata of a bot, and the version that serves."""
    slot = await pool.pin(call)
    bot = slot.bot
    try:
        document = model_metadata(
            name=bot.id,
            platform=bot.platform,
            inputs=bot.spec.inputs,
            outputs=bot.spec.outputs,
            versions=(str(bot.version.number),),
        )
        return document, bot.version.number
    finally:
        pool.residents.unpin(bot.id, slot)


def index_entries(pool: Pool, /) -> list[IndexEntry]:
    """Every bot of the pool with its state."""
    return [_index_entry(entry) for entry in sorted(pool.residents, key=lambda entry: entry.id)]


def index(pool: Pool, /, *, ready_only: bool) -> Answer:
    """Every bot of the pool with its state, as the repository extension writes it."""
    return json_answer(repository_index(index_entries(pool), ready_only=ready_only))


async def load(pool: Pool, call: Call, /) -> Answer:
    """Load a bot and wait for it."""
    entry = await pool.locate(call)
    await pool.residents.ensure(entry.id)
    return json_answer({"name": entry.id, "load": True})


async def unload(pool: Pool, call: Call, /) -> Answer:
    """Take a bot out of memory; requests that use it end first, the next one loads it again."""
    check_unloadable(pool)
    entry = await pool.locate(call)
    pool.residents.evict(entry.id)
    return json_answer({"name": entry.id, "unload": True})


def check_unloadable(pool: Pool, /) -> None:
    """Refuses to unload bots that must be resident. Raises: InvalidInputError."""
    if pool.view is not None and pool.view.realtime:
        raise InvalidInputError(
            None, "the bots of a realtime pool stay loaded; retire the bot or change its pool group"
        )


def _index_entry(entry: Resident) -> IndexEntry:
    version = entry.slot.bot.version.number if entry.slot is not None else entry.wanted.number
    reason = entry.failure.reason if entry.failure is not None else ""
    return IndexEntry(entry.id, str(version), _INDEX_STATES[entry.state], reason)


def _with_version(answer: Answer, version: int) -> Answer:
    answer.headers.append((b"x-botshard-bot-version", str(version).encode()))
    return answer
