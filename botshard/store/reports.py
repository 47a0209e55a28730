"""What a replica says of itself, for the controller and for people: compact JSON, bounded, validated whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from botshard.sharding.errors import CallerError, InvalidDocumentError, Problem
from botshard.sharding.ids import BotId, Epoch, PoolName, VersionNumber, check_bot_id, check_pool_name
from botshard.sharding.reading import Reader, parse_json
from botshard.sharding.residency import Residency
from botshard.store.base import ObjectNotFoundError, ObjectStore
from botshard.store.layout import REPORTS_PREFIX, costs_key, pool_reports_prefix, report_key

__all__ = [
    "MAX_ERROR_CHARS",
    "RATE_TAU_S",
    "REPORT_FORMAT",
    "BotReport",
    "ReplicaReport",
    "ReportFollower",
    "check_replica_name",
    "check_replica_url",
    "decode_report",
    "delete_report",
    "encode_report",
    "read_reports",
    "write_report",
]

RATE_TAU_S = 60.0
"""Rates in reports are means with this time constant: a new replica tells 63 % of what it is asked after so long.

A burst is half forgotten after 42 s: long enough for a steady figure, short enough to follow a working day."""
REPORT_FORMAT = "botshard.report/v1"
MAX_ERROR_CHARS = 300
"""A reason for people, not a traceback: a replica with a thousand broken bots still writes a small object."""

_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_STATES = {str(state): state for state in Residency}
_FIELDS = ("format", "pool", "replica", "epoch", "catalogRevision", "ready", "warmedEpoch", "atS", "residentBytes")
_MORE_FIELDS = ("baseRssBytes", "inFlight", "requestsTotal", "bots", "reloadsPerS", "leftRates", "url")
_DEVICE_FIELDS = ("deviceBytes", "deviceFreeBytes")


@dataclass(frozen=True, slots=True)
class BotReport:
    """One bot on one replica."""

    state: Residency
    version: VersionNumber | None = None
    """The version that is loaded, is being loaded or failed to load; None: none of these."""
    footprint_bytes: int = 0
    """Measured bytes of the bot while it is in memory, or of when it was last; 0: it never was."""
    rate_per_s: float = 0.0
    """Requests a second, lately."""
    load_s: float = 0.0
    """How long its last load took, in seconds."""
    error: str | None = None
    """Why its last load failed, cut to `MAX_ERROR_CHARS`."""


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """One replica at one moment."""

    pool: PoolName
    replica: str
    """Name of the replica, unique in its pool."""
    epoch: Epoch
    """Of the routing table that it holds; 0: none yet."""
    catalog_revision: int
    """Of the catalog's head that it has followed; 0: unknown."""
    ready: bool
    warmed_epoch: Epoch
    """Every bot that is the replica's under this epoch and must be resident is so; 0: under none yet."""
    at_s: float
    """Seconds since 1970 by the replica's clock."""
    resident_bytes: int
    """Sum of the footprints."""
    base_rss_bytes: int
    """Memory of the process before the first bot."""
    in_flight: int
    requests_total: int
    bots: Mapping[BotId, BotReport]
    reloads_per_s: float = 0.0
    """Loads a second, lately, of bots that had left memory for the room of others."""
    left_rates: Mapping[BotId, float] = field(default_factory=dict)
    """Requests a second of bots that it holds no more: they fade as those of whoever has the bot now grow."""
    url: str | None = None
    """Where other replicas of its pool may get contents of artifacts from it: `http://host:port`; None: nowhere."""
    device_bytes: int = 0
    """Of a GPU's memory that it uses; 0: it has none."""
    device_free_bytes: int | None = None
    """Of that GPU's memory that nobody uses; None: it has none, or does not say."""


def check_replica_name(value: object, /, field: str = "replica") -> Problem | None:
    """None if `value` can name a replica, else what is wrong with it."""
    if isinstance(value, str) and _REPLICA.match(value):
        return None
    return Problem.of(field, value, "1 to 128 letters, digits, '.', '_' or '-', a letter or digit first")


def check_replica_url(value: object, /, field: str = "url") -> Problem | None:
    """None if `value` can be a replica's address, else what is wrong with it."""
    if isinstance(value, str) and _URL.match(value):
        return None
    return Problem.of(field, value, "http://host:port, without path, user or query")


def encode_report(report: ReplicaReport, /) -> bytes:
    """The bytes of a report; errors of bots are cut.

    Raises: CallerError where a number is not finite.
    """
    document: dict[str, object] = {
        "format": REPORT_FORMAT,
        "pool": report.pool,
        "replica": report.replica,
        "epoch": report.epoch,
        "catalogRevision": report.catalog_revision,
        "ready": report.ready,
        "warmedEpoch": report.warmed_epoch,
        "atS": report.at_s,
        "residentBytes": report.resident_bytes,
        "baseRssBytes": report.base_rss_bytes,
        "inFlight": report.in_flight,
        "requestsTotal": report.requests_total,
        "bots": {bot_id: _bot_document(bot) for bot_id, bot in sorted(report.bots.items())},
    }
    if report.reloads_per_s:
        document["reloadsPerS"] = report.reloads_per_s
    if report.device_bytes:
        document["deviceBytes"] = report.device_bytes
    if report.device_free_bytes is not None:
        document["deviceFreeBytes"] = report.device_free_bytes
    if report.left_rates:
        document["leftRates"] = dict(sorted(report.left_rates.items()))
    if report.url is not None:
        document["url"] = report.url
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise CallerError(f"report of {report.replica!r} in {report.pool!r}: {error}") from error


def _bot_document(bot: BotReport) -> dict[str, object]:
    document: dict[str, object] = {"state": str(bot.state)}
    if bot.version is not None:
        document["version"] = bot.version
    if bot.footprint_bytes:
        document["bytes"] = bot.footprint_bytes
    if bot.rate_per_s:
        document["ratePerS"] = bot.rate_per_s
    if bot.load_s:
        document["loadS"] = bot.load_s
    if bot.error is not None:
        text = bot.error.encode("utf-8", "replace").decode()  # half a surrogate pair has no UTF-8
        document["error"] = text if len(text) <= MAX_ERROR_CHARS else text[: MAX_ERROR_CHARS - 1] + "…"
    return document


def decode_report(data: bytes, /, name: str = "replica report") -> ReplicaReport:
    """The report in `data`; `name` says which document it is in the error.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, name), name)
    if reader.value.get("format") != REPORT_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(REPORT_FORMAT))
        reader.finish(name)
    reader.only(*_FIELDS, *_MORE_FIELDS, *_DEVICE_FIELDS)
    bots = {}
    for bot_id, bot in reader.members("bots"):
        if reader.note(check_bot_id(bot_id, bot.path)):
            bots[BotId(bot_id)] = _read_bot(bot)
    left_rates = _read_left_rates(reader.inner("leftRates")) if "leftRates" in reader.value else {}
    report = ReplicaReport(
        pool=PoolName(reader.text("pool", check_pool_name)),
        replica=reader.text("replica", check_replica_name),
        epoch=Epoch(reader.integer("epoch")),
        catalog_revision=reader.integer("catalogRevision"),
        ready=reader.boolean("ready"),
        warmed_epoch=Epoch(reader.integer("warmedEpoch")),
        at_s=reader.number("atS"),
        resident_bytes=reader.integer("residentBytes"),
        base_rss_bytes=reader.integer("baseRssBytes"),
        in_flight=reader.integer("inFlight"),
        requests_total=reader.integer("requestsTotal"),
        bots=bots,
        reloads_per_s=reader.number("reloadsPerS") if "reloadsPerS" in reader.value else 0.0,
        left_rates=left_rates,
        url=reader.text("url", check_replica_url) if "url" in reader.value else None,
        device_bytes=reader.integer("deviceBytes") if "deviceBytes" in reader.value else 0,
        device_free_bytes=reader.integer("deviceFreeBytes") if "deviceFreeBytes" in reader.value else None,
    )
    reader.finish(name)
    return report


def _read_left_rates(reader: Reader) -> dict[BotId, float]:
    return {
        BotId(bot_id): reader.number(bot_id)
        for bot_id in reader.value
        if reader.note(check_bot_id(bot_id, reader.at(bot_id)))
    }


def _read_bot(reader: Reader) -> BotReport:
    reader.only("state", "version", "bytes", "ratePerS", "loadS", "error")
    state = _STATES.get(reader.text("state"))
    if state is None:
        reader.refuse("state", reader.value.get("state"), f"one of {', '.join(_STATES)}")
    error = reader.optional_text("error")
    if error is not None and len(error) > MAX_ERROR_CHARS:
        reader.refuse("error", error, f"at most {MAX_ERROR_CHARS} characters")
    return BotReport(
        state=state or Residency.ABSENT,
        version=VersionNumber(reader.integer("version", at_least=1)) if "version" in reader.value else None,
        footprint_bytes=reader.integer("bytes") if "bytes" in reader.value else 0,
        rate_per_s=reader.number("ratePerS") if "ratePerS" in reader.value else 0.0,
        load_s=reader.number("loadS") if "loadS" in reader.value else 0.0,
        error=error,
    )


def write_report(store: ObjectStore, report: ReplicaReport, /) -> None:
    """Store a report in place of the replica's last one."""
    store.put(report_key(report.pool, report.replica), encode_report(report))


def delete_report(store: ObjectStore, pool: PoolName, /, *, replica: str) -> None:
    """Forget a replica that is gone, and what bots have cost it; absent is fine."""
    store.delete(costs_key(pool, replica))
    store.delete(report_key(pool, replica))


def read_reports(
    store: ObjectStore, pool: PoolName | None = None, /
) -> tuple[tuple[ReplicaReport, ...], dict[str, str]]:
    """The reports of a pool's replicas, or of all, sorted by pool and replica; and why others were refused, by key."""
    follower = ReportFollower(store, pool)
    reports = follower.refresh()
    return tuple(reports[key] for key in sorted(reports)), follower.problems


class ReportFollower:
    """Keeps a copy of the reports up to date by one listing and the reports that have changed since."""

    def __init__(self, store: ObjectStore, pool: PoolName | None = None, /) -> None:
        self._store = store
        self._prefix = REPORTS_PREFIX if pool is None else pool_reports_prefix(pool)
        self._etags: dict[str, str] = {}
        self._held: dict[str, ReplicaReport] = {}
        self.problems: dict[str, str] = {}
        """Why a report was refused, by key; the last good one of that replica stays."""

    def refresh(self) -> Mapping[tuple[PoolName, str], ReplicaReport]:
        """The reports that are there now, by pool and replica. How old each is says its `at_s`.

        Raises: StoreError.
        """
        listed = set()
        for entry in self._store.list(self._prefix):
            listed.add(entry.key)
            if self._etags.get(entry.key) != entry.etag:
                self._load(entry.key)
        for key in self._etags.keys() - listed:
            del self._etags[key]
            self._held.pop(key, None)
            self.problems.pop(key, None)
        return {(report.pool, report.replica): report for report in self._held.values()}

    def _load(self, key: str) -> None:
        try:
            blob = self._store.get(key)
        except ObjectNotFoundError:  # deleted since the listing; the next one tells
            return
        self._etags[key] = blob.etag
        try:
            self._held[key] = _decode_at(key, blob.data)
            self.problems.pop(key, None)
        except InvalidDocumentError as error:
            self.problems[key] = str(error)


def _decode_at(key: str, data: bytes) -> ReplicaReport:
    report = decode_report(data, key)
    if report_key(report.pool, report.replica) != key:
        found = f"{report.pool}/{report.replica}"
        raise InvalidDocumentError(key, [Problem.of("replica", found, "the pool and replica of its key")])
    return report
