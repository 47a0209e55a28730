"""The router over HTTP, as one command needs it: one kept connection, errors of ours, times measured."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import botshard
from botshard.cli.errors import RouterUnavailableError
from botshard.oip.client import decode_error
from botshard.oip.headers import RETRY_AFTER
from botshard.oip.rest import EncodedBody

__all__ = ["RouterAnswer", "RouterClient"]


_JSON_BODY = MappingProxyType({"Content-Type": "application/json"})


@dataclass(frozen=True, slots=True)
class RouterAnswer:
    """What the router said."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    took_s: float
    """From the first byte sent to the last received."""

    @property
    def is_good(self) -> bool:
        """Whether the body is what was asked for."""
        return self.status == http.client.OK

    @property
    def error(self) -> str:
        """The text of an error answer, and when to try again where the router says so."""
        again = self.headers.get(RETRY_AFTER)
        hint = f"; try again in {again} s" if again else ""
        return f"{decode_error(self.body)} ({self.status}{hint})"

    def document(self) -> object:
        """The body as JSON. Raises: RouterUnavailableError where it is none: that is no router."""
        try:
            parsed: object = json.loads(self.body)
        except ValueError as error:
            raise RouterUnavailableError(f"the answer is not JSON: {error}; does a router listen there?") from error
        return parsed


class RouterClient:
    """Speaks with the router at a URL; usable as a context."""

    def __init__(self, url: str, /, *, timeout_s: float, api_key: str = "") -> None:
        """`api_key`: for routers that ask who asks."""
        self.url = url
        self._sent = {"Accept": "application/json", "User-Agent": f"botshard/{botshard.__version__}"}
        if api_key:
            self._sent["Authorization"] = f"Bearer {api_key}"
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        host = parts.hostname or ""
        if parts.scheme == "https":
            tls = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=timeout_s, context=tls
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str, /) -> RouterAnswer:
        """Raises: RouterUnavailableError."""
        return self._send("GET", path, None, {})

    def metadata(self, bot: str, /) -> RouterAnswer:
        """What the bot takes and gives. Raises: RouterUnavailableError."""
        return self.get(f"/v2/models/{quote(bot, safe='')}")

    def infer(self, bot: str, body: EncodedBody, /) -> RouterAnswer:
        """Ask a bot, with a body that is JSON throughout. Raises: RouterUnavailableError."""
        return self._send("POST", f"/v2/models/{quote(bot, safe='')}/infer", body.body, _JSON_BODY)

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> RouterAnswer:
        is_reused = self._connection.sock is not None
        try:
            return self._exchange(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self._connection.close()
            if not is_reused:
                raise self._unavailable(error) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unavailable(error) from error
        # The server had closed an idle connection. Asking a bot changes nothing, so it may be asked again.
        try:
            return self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unavailable(error) from error

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> RouterAnswer:
        sent = {**self._sent, **headers}
        started_s = time.perf_counter()
        self._connection.request(method, self._prefix + path, body=body, headers=sent)
        response = self._connection.getresponse()
        data = response.read()
        took_s = time.perf_counter() - started_s
        received = {name.lower(): value for name, value in response.getheaders()}
        return RouterAnswer(response.status, received, data, took_s)

    def _unavailable(self, error: Exception) -> RouterUnavailableError:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return RouterUnavailableError(f"the router at {self.url} cannot be reached: {reason}")
