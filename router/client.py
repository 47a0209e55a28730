"""The client of a request, as those see it who ask pools for it."""

from __future__ import annotations

from typing import Protocol

from router.heads import AnswerHead
from router.table import BotRoute
from router.upstream import Connection

__all__ = ["Client"]


class Client(Protocol):
    """For whom a pool is asked."""

    @property
    def left_s(self) -> float:
        """Seconds until its deadline."""
        ...

    def found(self, bot_id: str, bot: BotRoute, /) -> None:
        """The bot was not known, and the store has it.

        Raises: what the client is to be told where the bot is none of theirs.
        """

    def allow(self, budget_s: float, /) -> None:
        """What it may take since its beginning; only ever more: a warm pool does not take away what a cold one gave."""

    def answer(self, head: AnswerHead, connection: Connection, /, *, wrap: bool) -> None:
        """The answer's head is here; `wrap`: it is an error that is not in the protocol's form."""

    def more(self) -> None:
        """More of the answer has come, or its end, or why there is none; `connection` of the asking knows."""

    def failed(self, error: Exception, /) -> None:
        """There is no answer."""
