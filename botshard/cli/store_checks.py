"""Checks of a store: can it be reached, does it keep its promises, can what is in it be read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from botshard.cli.checks import Check, Verdict
from botshard.cli.controller_view import read_controller
from botshard.cli.world import read_catalog
from botshard.sharding.errors import InvalidDocumentError, WorldError
from botshard.sharding.units import format_duration_s
from botshard.store.base import ObjectStore, PreconditionFailedError, StoreUnavailableError
from botshard.store.table import TableStore

__all__ = ["check_catalog", "check_conditional_writes", "check_controller", "check_table", "store_checks"]

_BROKEN = (
    "every write of the catalog depends on it: use a folder on a local disk, or MinIO, AWS S3 or another store with "
    "conditional writes"
)


def store_checks(store: ObjectStore, /) -> list[Check]:
    """All checks of a store; what depends on a failed one is left out."""
    written = check_conditional_writes(store)
    if written.verdict is Verdict.FAIL:
        return [written]
    return [written, *(_told(check, store) for check in (check_catalog, check_table, check_controller))]


def check_conditional_writes(store: ObjectStore, /) -> Check:
    """Write, overwrite and remove an object of its own, and try what must be refused."""
    key = f"doctor/{secrets.token_hex(8)}.json"
    started_s = time.perf_counter()
    try:
        problem = _probe(store, key)
    except StoreUnavailableError as error:
        return Check("store", Verdict.FAIL, str(error), "start it, or check its URL and the network")
    except WorldError as error:
        return Check("store", Verdict.FAIL, str(error), "check credentials, permissions and free space")
    finally:
        with suppress(WorldError):
            store.delete(key)
    if problem is not None:
        return Check("store", Verdict.FAIL, f"{store.url}: {problem}", _BROKEN)
    took = format_duration_s(time.perf_counter() - started_s)
    return Check("store", Verdict.OK, f"{store.url}: reads, writes and conditional writes work ({took})")


def _probe(store: ObjectStore, key: str) -> str | None:
    """What promise is broken; None: none."""
    first = store.put_if(key, b"1", etag=None)
    if not _is_refused(store, key, None):
        return "a write that must not replace anything has replaced an object"
    second = store.put_if(key, b"2", etag=first)
    if not _is_refused(store, key, first):
        return "a write over an older version has replaced a newer one"
    blob = store.get(key)
    if (blob.data, blob.etag) != (b"2", second):
        return "what was written is not what is read"
    if store.get_if_changed(key, second) is not None:
        return "an object that has not changed is sent again at every poll"
    return None


def _is_refused(store: ObjectStore, key: str, etag: str | None) -> bool:
    try:
        store.put_if(key, b"3", etag=etag)
    except PreconditionFailedError:
        return True
    return False


def check_catalog(store: ObjectStore, /) -> Check:
    """Whether every object of the catalog can be read."""
    bots, problems = read_catalog(store)
    if problems:
        advice = "put back the named objects, or publish their bots again; the last good ones stay in force meanwhile"
        return Check("catalog", Verdict.FAIL, "; ".join(problems.values()).replace("\n", " "), advice)
    if not bots:
        return Check("catalog", Verdict.WARN, "no bots", "botshard init my-bot && botshard publish my-bot")
    retired = sum(bot.retired for bot in bots.values())
    return Check("catalog", Verdict.OK, f"{len(bots)} bots, {retired} of them retired")


def check_table(store: ObjectStore, /) -> Check:
    """Whether a routing table is published and can be read."""
    try:
        published = TableStore(store).read()
    except InvalidDocumentError as error:
        advice = "the shard controller writes a new one: is it running?"
        return Check("routing table", Verdict.FAIL, str(error).replace("\n", " "), advice)
    if published is None:
        return Check("routing table", Verdict.WARN, "none", "the shard controller publishes it: botshard up")
    table = published[0]
    found = f"epoch {table.epoch}, {len(table.families)} families, {len(table.pools)} pools"
    return Check("routing table", Verdict.OK, found)


def check_controller(store: ObjectStore, /) -> Check:
    """Whether the shard controller is content with what it has seen."""
    view = read_controller(store)
    if view.problems:
        found = "refuses " + "; ".join(f"{where}: {why}" for where, why in view.problems.items()).replace("\n", " ")
        return Check("controller", Verdict.FAIL, found, "mend what it names; the last good one stays in force")
    if view.refused_count:
        found = f"cannot place {view.refused_count} bots"
        return Check("controller", Verdict.WARN, found, "botshard bots --state unplaced, then botshard explain BOT")
    if view.waiting:
        return Check("controller", Verdict.OK, f"waits: {'; '.join(view.waiting)}")
    return Check("controller", Verdict.OK, f"content with epoch {view.epoch}" if view.epoch else "has not run yet")


def _told(check: Callable[[ObjectStore], Check], store: ObjectStore) -> Check:
    """What `check` says, or that the store has gone meanwhile."""
    try:
        return check(store)
    except WorldError as error:
        return Check(check.__name__.removeprefix("check_"), Verdict.FAIL, str(error), "check the store")
