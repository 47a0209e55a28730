"""The other replicas of the pool, which have what this one is about to fetch: asked first, never relied upon.

Who they are stands in their reports. What they give is taken only if its digest is right, and whoever is away, slow or
wrong is not asked for a while. So the worst that a sibling can do is to cost a second or two before the store is asked.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import HTTPError, ProtocolError

from botshard.logs import fields
from botshard.sharding.errors import WorldError
from botshard.sharding.ids import PoolName
from botshard.store.base import ObjectStore
from botshard.store.reports import ReplicaReport, ReportFollower

__all__ = ["CONTENT_PATH", "Siblings"]

log = logging.getLogger(__name__)

CONTENT_PATH: Final = "/pool/blobs/"
"""Before the digest."""
_CONNECT_S: Final = 0.25
_SILENCE_S: Final = 1.0
"""A sibling that sends nothing for so long is slower than most stores."""
_START_S: Final = 2.0
_LEAST_BYTES_PER_S: Final = 4 << 20
_PIECE_BYTES: Final = 256 << 10
_MOST_ASKED: Final = 2
"""Siblings for one content; those that do not have it say so within a millisecond, but a pool may have many."""
_AWAY_S: Final = 10.0
_BUSY_S: Final = 0.5
_WRONG_S: Final = 300.0
"""What gives wrong bytes has a damaged disk or worse, and needs somebody to look at it."""
_YOUNG_S: Final = 60.0
"""Replicas report every 15 s if only to say that they live."""
_LOOK_S: Final = 15.0
_OK: Final = 200
_NOT_FOUND: Final = 404
_BUSY: Final = 503


class _NotToBeHadError(Exception):
    """A sibling did not give what it was asked for, and is not to be asked for so many seconds."""

    def __init__(self, reason: str, *, for_s: float = 0.0) -> None:
        super().__init__(reason)
        self.for_s = for_s


class Siblings:
    """A `Nearby`. Used by the threads of the loaders; closed by the loop's."""

    def __init__(self, store: ObjectStore, pool: PoolName, /, *, replica: str) -> None:
        self._reports = ReportFollower(store, pool)
        self._replica = replica
        self._http = PoolManager(maxsize=8, retries=False, timeout=Timeout(connect=_CONNECT_S, read=_SILENCE_S))
        self._lock = threading.Lock()
        self._urls: tuple[str, ...] = ()
        self._not_before_s: dict[str, float] = {}
        self._turn = 0
        self._next_look_s = 0.0
        # Never in a loader's thread: a load would wait for it, longest when the store is away and siblings are all
        # that there is.
        self._executor = ThreadPoolExecutor(1, "siblings")

    def note(self, reports: Iterable[ReplicaReport], /) -> None:
        """Take up who is there, from reports of the pool that somebody has read anyway."""
        since_s = time.time() - _YOUNG_S
        urls = {
            report.url
            for report in reports
            if report.url is not None and report.ready and report.at_s > since_s and report.replica != self._replica
        }
        with self._lock:
            self._urls = tuple(sorted(urls))
            self._next_look_s = time.monotonic() + _LOOK_S

    def read(self, sha256: str, /, *, most_bytes: int) -> bytes | None:
        """See `Nearby`."""
        for url in self._candidates():
            try:
                return b"".join(self._pieces(url, sha256, most_bytes))
            except _NotToBeHadError as error:
                self._note_useless(url, error)
        return None

    def download(self, sha256: str, path: Path, /, *, size_bytes: int) -> bool:
        """See `Nearby`."""
        for url in self._candidates():
            try:
                with path.open("wb") as file:
                    for piece in self._pieces(url, sha256, size_bytes):
                        file.write(piece)
                return True
            except _NotToBeHadError as error:
                self._note_useless(url, error)
        return False

    def close(self) -> None:
        """Look for nobody any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    # ── who is asked ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _candidates(self) -> list[str]:
        """Whom to ask, each in turn. Others may have come since they were looked for: that is for the next time."""
        now_s = time.monotonic()
        with self._lock:
            if now_s >= self._next_look_s:
                self._next_look_s = now_s + _LOOK_S
                with suppress(RuntimeError):  # closed: the process ends
                    self._executor.submit(self._look)
            start, self._turn = self._turn % max(len(self._urls), 1), self._turn + 1
            in_turn = self._urls[start:] + self._urls[:start]
            return [url for url in in_turn if self._not_before_s.get(url, 0.0) <= now_s][:_MOST_ASKED]

    def _look(self) -> None:
        try:
            self.note(self._reports.refresh().values())
        except WorldError as error:
            log.debug("siblings cannot be looked for, those known stay", extra=fields(problem=str(error)))
        except Exception:
            log.exception("siblings cannot be looked for")

    def _note_useless(self, url: str, error: _NotToBeHadError) -> None:
        if not error.for_s:
            return
        now_s = time.monotonic()
        with self._lock:
            self._not_before_s = {known: at_s for known, at_s in self._not_before_s.items() if at_s > now_s}
            self._not_before_s[url] = now_s + error.for_s
        level = logging.WARNING if error.for_s >= _WRONG_S else logging.DEBUG
        log.log(level, "sibling is not asked for a while", extra=fields(url=url, problem=str(error), for_s=error.for_s))

    # ── what it gives ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _pieces(self, url: str, sha256: str, most_bytes: int) -> Iterator[bytes]:
        """The content, which is right if the iterator ends. Raises: _NotToBeHadError."""
        started_s = time.monotonic()
        try:
            response = self._ask(url + CONTENT_PATH + sha256)
        except (HTTPError, OSError) as error:
            raise _NotToBeHadError(f"{type(error).__name__}: {error}", for_s=_AWAY_S) from error
        is_whole = False
        try:
            length = _checked_length(response, most_bytes)
            until_s = started_s + _START_S + length / _LEAST_BYTES_PER_S
            digest, got_bytes = hashlib.sha256(), 0
            while piece := response.read1(_PIECE_BYTES, decode_content=False):
                got_bytes += len(piece)
                digest.update(piece)
                if time.monotonic() > until_s:
                    raise _NotToBeHadError(f"{got_bytes} of {length} bytes came in time", for_s=_AWAY_S)
                yield piece
            if got_bytes != length:
                raise _NotToBeHadError(f"{got_bytes} of {length} bytes came", for_s=_AWAY_S)
            is_whole = True
            if digest.hexdigest() != sha256:
                raise _NotToBeHadError(f"gave other bytes than those with sha256 {sha256}", for_s=_WRONG_S)
        except (HTTPError, OSError) as error:
            raise _NotToBeHadError(f"{type(error).__name__}: {error}", for_s=_AWAY_S) from error
        finally:
            if is_whole:
                response.release_conn()
            else:
                response.close()

    def _ask(self, url: str) -> BaseHTTPResponse:
        """The answer's head. An open connection that its server has just closed is no sign of anything."""
        try:
            return self._http.request("GET", url, preload_content=False, redirect=False)
        except ProtocolError:
            return self._http.request("GET", url, preload_content=False, redirect=False)


def _checked_length(response: BaseHTTPResponse, most_bytes: int) -> int:
    """How many bytes come. Raises: _NotToBeHadError."""
    match response.status:
        case status if status == _OK:
            pass
        case status if status == _NOT_FOUND:
            response.drain_conn()
            raise _NotToBeHadError("does not have it")
        case status if status == _BUSY:
            raise _NotToBeHadError("is busy", for_s=_BUSY_S)
        case status:
            raise _NotToBeHadError(f"answered {status}", for_s=_AWAY_S)
    length = response.headers.get("content-length", "")
    if not length.isdecimal() or len(length) > 18:
        raise _NotToBeHadError(f"content-length is {length[:20]!r}", for_s=_AWAY_S)
    if int(length) > most_bytes:
        raise _NotToBeHadError(f"gives {length} bytes of {most_bytes} at most", for_s=_WRONG_S)
    return int(length)
