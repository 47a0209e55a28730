"""What the router is told by its environment, read once and checked whole before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.units import parse_bytes
from router.limits import Limits

__all__ = ["VARIABLES", "Settings"]

_T = TypeVar("_T")
_DEFAULT_POLL_FILE_S: Final = 0.5
_DEFAULT_POLL_S3_S: Final = 1.0

VARIABLES: Final[Mapping[str, str]] = {
    "ROUTER_STORE_URL": "where catalog and routing table are: file:///folder or s3://bucket/prefix?endpoint=…; needed",
    "ROUTER_HOST": "address to listen on (127.0.0.1)",
    "ROUTER_PORT": "port to listen on (8080); 0: any free one, which the log names",
    "ROUTER_LISTEN_FD": "an inherited listening socket, instead of host and port",
    "ROUTER_POLL_INTERVAL_S": "seconds between polls of the store (0.5 for a folder, 1 for S3)",
    "ROUTER_MAX_BODY": "largest request body (16Mi)",
    "ROUTER_MAX_HELD_BODIES": "bytes of request bodies held at once, small ones not counted (256Mi)",
    "ROUTER_MAX_CONNECTIONS_PER_POOL": "connections to one pool (256)",
    "ROUTER_CONNECT_TIMEOUT_S": "seconds for one attempt at a connection (3)",
    "ROUTER_DRAIN_TIMEOUT_S": "seconds that requests in flight have when the router stops (30)",
    "ROUTER_ACCESS_LOG": "true: one log line a request (false)",
    "ROUTER_LOG_FORMAT": "text or json (text)",
    "ROUTER_LOG_LEVEL": "debug, info, warning or error (info)",
}
"""Every variable and what it means; `docs/router.md` has the same table."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A router's settings."""

    store_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    listen_fd: int | None = None
    poll_interval_s: float = _DEFAULT_POLL_FILE_S
    limits: Limits = field(default_factory=Limits)
    drain_timeout_s: float = 30.0
    access_log: bool = False
    log_as_json: bool = False
    log_level: str = "INFO"
    unknown: tuple[str, ...] = ()
    """Variables that start like ours and are not: misspelt, or put there by Kubernetes for a Service named `router`."""

    @classmethod
    def read(cls, environ: Mapping[str, str], /) -> Settings:
        """The settings in `environ`.

        Raises: InvalidDocumentError with everything wrong in them.
        """
        reader = _Reader(environ)
        url = reader.value("ROUTER_STORE_URL", str, "", "the URL of a store")
        poll_s = _DEFAULT_POLL_S3_S if url.startswith("s3:") else _DEFAULT_POLL_FILE_S
        defaults = Limits()
        limits = Limits(
            max_body_bytes=reader.value("ROUTER_MAX_BODY", parse_bytes, defaults.max_body_bytes, _BYTES),
            max_held_bytes=reader.value("ROUTER_MAX_HELD_BODIES", parse_bytes, defaults.max_held_bytes, _BYTES),
            max_connections_per_pool=reader.value(
                "ROUTER_MAX_CONNECTIONS_PER_POOL",
                _whole(1, 65_535),
                defaults.max_connections_per_pool,
                "a whole number from 1 to 65535",
            ),
            connect_timeout_s=reader.value(
                "ROUTER_CONNECT_TIMEOUT_S", _seconds(0.01, 60.0), defaults.connect_timeout_s, "seconds from 0.01 to 60"
            ),
        )
        if limits.max_held_bytes < limits.max_body_bytes:
            reader.refuse("ROUTER_MAX_HELD_BODIES", str(limits.max_held_bytes), "at least ROUTER_MAX_BODY")
        settings = cls(
            store_url=url,
            host=reader.value("ROUTER_HOST", str, "127.0.0.1", "an address or host name"),
            port=reader.value("ROUTER_PORT", _whole(0, 65_535), 8080, "a port from 0 to 65535"),
            listen_fd=reader.optional("ROUTER_LISTEN_FD", _whole(0, 2**31 - 1), "a file descriptor's number"),
            poll_interval_s=reader.value(
                "ROUTER_POLL_INTERVAL_S", _seconds(0.05, 60.0), poll_s, "seconds from 0.05 to 60"
            ),
            limits=limits,
            drain_timeout_s=reader.value(
                "ROUTER_DRAIN_TIMEOUT_S", _seconds(0.0, 3600.0), 30.0, "seconds from 0 to 3600"
            ),
            access_log=reader.value("ROUTER_ACCESS_LOG", _boolean, False, "true or false"),
            log_as_json=reader.value("ROUTER_LOG_FORMAT", _one_of("text", "json"), "text", "text or json") == "json",
            log_level=reader.value("ROUTER_LOG_LEVEL", _level, "INFO", "debug, info, warning or error"),
            unknown=tuple(sorted(name for name in environ if name.startswith("ROUTER_") and name not in VARIABLES)),
        )
        reader.finish(needed=("ROUTER_STORE_URL",))
        return settings


_BYTES: Final = "a number of bytes such as 16Mi"


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[Problem] = []

    def value(self, name: str, read: Callable[[str], _T], default: _T, expected: str) -> _T:
        text = self._environ.get(name)
        if text is None or not text.strip():
            return default
        try:
            return read(text.strip())
        except ValueError:
            # A URL may hold what must not be shown.
            self.refuse(name, "a URL (not shown)" if name.endswith("_URL") else text, expected)
            return default

    def optional(self, name: str, read: Callable[[str], _T], expected: str) -> _T | None:
        wrapped: Callable[[str], _T | None] = read
        return self.value(name, wrapped, None, expected)

    def refuse(self, name: str, found: str, expected: str) -> None:
        self._problems.append(Problem.of(name, found, expected))

    def finish(self, *, needed: tuple[str, ...]) -> None:
        for name in needed:
            if not self._environ.get(name, "").strip():
                self._problems.append(Problem.of(name, None, "set: " + VARIABLES[name]))
        if self._problems:
            raise InvalidDocumentError("environment", self._problems)


def _whole(at_least: int, at_most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if not at_least <= number <= at_most:
            raise ValueError(text)
        return number

    return read


def _seconds(at_least: float, at_most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = float(text)
        if not at_least <= number <= at_most:
            raise ValueError(text)
        return number

    return read


def _boolean(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "false"):
        raise ValueError(text)
    return word == "true"


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return read


def _level(text: str) -> str:
    level = text.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError(text)
    return level
