"""Asking every bot every test phrase through the router, and comparing each answer with the offline one."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import fmean, quantiles
from urllib.parse import urlsplit

import numpy as np

from botshard.oip.client import decode_error, decode_response, encode_request
from botshard.oip.tensors import Tensor
from examples.training import TrainedBot

__all__ = ["Comparison", "Latency", "ask_all", "ask_once", "measure_latency"]

TOLERANCE = 1e-5
_ROWS_A_REQUEST = 16
_CONNECTIONS = 8
_TRIES = 5
_TRY_AGAIN_S = 0.3


@dataclass(frozen=True, slots=True)
class Latency:
    """Of lone requests with one phrase, in seconds."""

    p50_s: float
    p99_s: float
    count: int


@dataclass
class Comparison:
    """What was compared, and where a served answer differed."""

    answers: int = 0
    requests: int = 0
    largest_difference: float = 0.0
    differences: list[str] = field(default_factory=list)
    accuracy_served: list[float] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def mean_accuracy(self) -> float:
        """Mean over bots of the accuracy in scope, of served answers."""
        return fmean(self.accuracy_served)


class _Client:
    """One kept connection a thread."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._local = threading.local()

    def ask(self, bot: str, phrases: Sequence[str]) -> dict[str, Tensor]:
        """The outputs for some phrases; a bot that is loading or a pool that starts is tried again.

        Raises: RuntimeError with the answer's error.
        """
        texts = [phrase.encode() for phrase in phrases]
        body = encode_request([Tensor("text", "BYTES", (len(texts), 1), texts)]).body
        problem = ""
        for attempt in range(_TRIES):
            try:
                status, data = self._post(f"/v2/models/{bot}/infer", body)
            except (OSError, http.client.HTTPException) as error:
                self._local.connection = None
                problem = repr(error)
            else:
                if status == http.HTTPStatus.OK:
                    return dict(decode_response(data).outputs)
                problem = f"{status}: {decode_error(data)}"
                if status != http.HTTPStatus.SERVICE_UNAVAILABLE:
                    break
            time.sleep(_TRY_AGAIN_S * (attempt + 1))
        raise RuntimeError(problem)

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self._address, timeout=60)
        connection.request("POST", path, body)
        response = connection.getresponse()
        return response.status, response.read()


def ask_once(url: str, bot: str, phrase: str) -> float:
    """Seconds from a request over a new connection to its answer. Raises: RuntimeError."""
    started_s = time.monotonic()
    _Client(url).ask(bot, [phrase])
    return time.monotonic() - started_s


def ask_all(url: str, bots: Sequence[TrainedBot], progress: Callable[[int, int], None]) -> Comparison:
    """Every test phrase of every bot."""
    client = _Client(url)
    found = Comparison()
    lock = threading.Lock()
    started_s = time.monotonic()

    def ask(bot: TrainedBot) -> None:
        labels: list[str] = []
        problems: list[str] = []
        largest = 0.0
        for start in range(0, len(bot.phrases), _ROWS_A_REQUEST):
            phrases = bot.phrases[start : start + _ROWS_A_REQUEST]
            try:
                outputs = client.ask(bot.plan.id, phrases)
            except RuntimeError as error:
                problems.append(f"{bot.plan.id}: {error}")
                labels += [""] * len(phrases)
                continue
            served = [bytes(text).decode() for text in outputs["label"].data]
            wanted = bot.offline_labels[start : start + len(phrases)]
            offline = bot.probabilities[start : start + len(phrases)]
            difference = float(np.max(np.abs(outputs["probabilities"].numpy() - offline)))
            largest = max(largest, difference)
            problems += [
                f"{bot.plan.id}: {phrase!r} is {got!r}, offline it is {want!r}"
                for phrase, got, want in zip(phrases, served, wanted, strict=True)
                if got != want
            ]
            if difference > TOLERANCE:
                problems.append(f"{bot.plan.id}: probabilities differ by {difference:.2g}")
            labels += served
        right = [got == true for got, true in zip(labels, bot.true_labels, strict=True) if true in bot.plan.intents]
        with lock:
            found.answers += len(bot.phrases)
            found.requests += -(-len(bot.phrases) // _ROWS_A_REQUEST)
            found.largest_difference = max(found.largest_difference, largest)
            found.differences += problems
            found.accuracy_served.append(fmean(right))
            progress(len(found.accuracy_served), len(bots))

    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        list(threads.map(ask, bots))
    found.took_s = time.monotonic() - started_s
    return found


def measure_latency(url: str, bots: Sequence[TrainedBot], *, count: int) -> Latency:
    """One phrase a request, one request at a time, over all bots in turn."""
    client = _Client(url)
    took = []
    for index in range(count):
        bot = bots[index % len(bots)]
        phrase = bot.phrases[index // len(bots) % len(bot.phrases)]
        started_s = time.monotonic()
        client.ask(bot.plan.id, [phrase])
        took.append(time.monotonic() - started_s)
    cuts = quantiles(took, n=100)
    return Latency(cuts[49], cuts[98], count)
