"""Every bot of a fleet asked once, over some kept connections, each answer held against the bot's weights."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

from benchmarks.bots import OwnBot
from botshard.oip.client import decode_response, encode_request
from botshard.oip.tensors import Tensor

__all__ = ["QUESTION", "Asked", "ask_each", "difference_of"]

_TEXT = b"hello, see you later this morning"
QUESTION = encode_request([Tensor("text", "BYTES", (1, 1), [_TEXT])]).body
"""What every bot is asked."""
_WORDS = (0, 2, 5)
"""Where the template's vocabulary has the words of the text that it knows."""
_LABELS = ("greeting", "farewell", "opening-hours")
_LEAST_SCORE = 0.5
_TOLERANCE = 1e-5
_PATIENCE_S = 30.0
_FAILURES_SHOWN = 5


@dataclass(slots=True)
class Asked:
    """What became of the questions."""

    answered: int = 0
    wrong: int = 0
    failed: int = 0
    took_s: float = 0.0
    largest_difference: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """The first of them, for people."""

    def note_failure(self, bot: str, why: str) -> None:
        """No answer, or one that is none."""
        self.failed += 1
        if len(self.problems) < _FAILURES_SHOWN:
            self.problems.append(f"{bot}: {why}")

    def note_answer(self, bot: OwnBot, body: bytes) -> None:
        """Compare an answer with what the bot's weights give."""
        self.answered += 1
        difference, label_is_right = difference_of(bot, body)
        self.largest_difference = max(self.largest_difference, difference)
        if difference > _TOLERANCE or not label_is_right:
            self.wrong += 1
            if len(self.problems) < _FAILURES_SHOWN:
                self.problems.append(f"{bot.id}: {body!r}, should be {_probabilities(bot)}")


def difference_of(bot: OwnBot, body: bytes) -> tuple[float, bool]:
    """How far the probabilities of an answer are from those that the bot's weights give; whether its label is one."""
    outputs = decode_response(body).outputs
    given = [float(number) for number in outputs["probabilities"].numpy().ravel()]
    wanted = _probabilities(bot)
    difference = max(abs(one - other) for one, other in zip(given, wanted, strict=True))
    return difference, bytes(outputs["label"].data[0]).decode() in _labels(wanted)


def ask_each(url: str, bots: Sequence[OwnBot], *, connections: int) -> Asked:
    """Ask every bot once."""
    asked: Asked = uvloop.run(_ask_each(url, bots, connections))
    return asked


async def _ask_each(url: str, bots: Sequence[OwnBot], connections: int) -> Asked:
    asked = Asked()
    waiting = iter(bots)
    started_s = time.perf_counter()
    await asyncio.gather(*(_ask_some(urlsplit(url).netloc, waiting, asked) for _ in range(connections)))
    asked.took_s = time.perf_counter() - started_s
    asked.latencies_s.sort()
    return asked


async def _ask_some(address: str, bots: Iterator[OwnBot], asked: Asked) -> None:
    """Bots of a queue that others take from as well, over one connection, which is opened again where it was lost."""
    host, _, port = address.partition(":")
    body = QUESTION
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for bot in bots:
        head = f"POST /v2/models/{bot.id}/infer HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n"
        asked_s = time.perf_counter()
        try:
            streams = streams or await asyncio.open_connection(host, int(port))
            status, answer = await asyncio.wait_for(_exchange(streams, head.encode() + body), _PATIENCE_S)
        except (OSError, EOFError, TimeoutError) as error:
            asked.note_failure(bot.id, repr(error))
            if streams is not None:
                streams[1].close()
            streams = None
            continue
        asked.latencies_s.append(time.perf_counter() - asked_s)
        if status == 200:
            asked.note_answer(bot, answer)
        else:
            asked.note_failure(bot.id, f"{status} {answer.decode(errors='replace')[:200]}")
    if streams is not None:
        streams[1].close()


async def _exchange(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> tuple[int, bytes]:
    reader, writer = streams
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + len(b"content-length:")
    return int(head[9:12]), await reader.readexactly(int(head[at : head.index(b"\r", at)]))


def _probabilities(bot: OwnBot) -> list[float]:
    """Softmax of the sums of the weights of the words that the text has."""
    powers = [math.exp(sum(row[word] for word in _WORDS)) for row in bot.weights]
    return [power / sum(powers) for power in powers]


def _labels(probabilities: Sequence[float]) -> set[str]:
    """The label that these give; two where rounding decides."""
    most = max(probabilities)
    labels = {
        label
        for label, one in zip(_LABELS, probabilities, strict=True)
        if most - one < _TOLERANCE and one > _LEAST_SCORE - _TOLERANCE
    }
    return labels | ({"unknown"} if most < _LEAST_SCORE + _TOLERANCE else set())
