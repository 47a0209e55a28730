"""An answer that was decided before its turn: the request was malformed, too large, too slow, or out of time."""

from __future__ import annotations

from botshard.http1.answers import Answer
from botshard.http1.exchange import Exchange

__all__ = ["Refusal"]


class Refusal(Exchange):
    """Waits for its turn in the queue, then answers."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer
        self.method, self.target, self.version = b"", b"", "1.1"
        self.headers, self.fields = [], {}
        self.keep_alive = self.expects_continue = False

    def start(self) -> None:
        """Answer."""
        self.link.reply(self, self._answer)
