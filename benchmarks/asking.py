"""One question to a text bot, as a client without a kept connection asks it."""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

from botshard.oip.client import encode_request
from botshard.oip.tensors import Tensor

__all__ = ["ask", "ask_until_answered"]

_POLL_S = 0.02
_PATIENCE_S = 60.0


def ask(url: str, bot: str) -> float:
    """Seconds from the connection to the whole answer. Raises: RuntimeError where it is not 200; OSError."""
    body = encode_request([Tensor("text", "BYTES", (1, 1), [b"good morning"])]).body
    started_s = time.perf_counter()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", f"/v2/models/{bot}/infer", body)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    took_s = time.perf_counter() - started_s
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{bot}: {response.status} {answer!r}")
    return took_s


def ask_until_answered(url: str, bot: str) -> None:
    """Ask again and again until there is an answer, for a minute at most."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            ask(url, bot)
        except (RuntimeError, OSError):
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)
        else:
            return
