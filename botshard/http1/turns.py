"""The requests of one connection that are not over, in the order in which they are answered."""

from __future__ import annotations

from collections import deque

from botshard.http1.exchange import Exchange

__all__ = ["Turns", "drop"]


def drop(exchange: Exchange, /) -> None:
    """Nobody waits for this one any more."""
    exchange.abandon()
    exchange.is_over = True
    exchange.over()


class Turns(deque[Exchange]):
    """A queue; the first is answered, or will be next."""

    def withdraw(self, exchange: Exchange, /) -> None:
        """Take one out of the queue, and drop it."""
        self.remove(exchange)
        drop(exchange)

    def replace_by(self, exchange: Exchange, by: Exchange, /) -> bool:
        """Let another have the turn of one; whether that one was here."""
        if exchange not in self:
            return False
        self[self.index(exchange)] = by
        return True

    def abandon_all(self) -> None:
        """Drop them all."""
        queue = list(self)
        self.clear()
        for exchange in queue:
            if not exchange.is_over:
                drop(exchange)

    def expire(self, now_s: float, /) -> None:
        """Tell those whose deadline has passed."""
        for exchange in [found for found in self if found.deadline_s <= now_s]:
            exchange.deadline_s = float("inf")
            exchange.expire()
