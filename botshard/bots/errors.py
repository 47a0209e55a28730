"""What can be wrong with a bot that somebody names.

```
TerminalError
├── UnknownBotError        the catalog has no such bot, or it is retired
└── UnknownVersionError    the bot has no such version
```
"""

from __future__ import annotations

from collections.abc import Iterable

from botshard.bots.hints import near_names
from botshard.sharding.catalog import Bot
from botshard.sharding.errors import TerminalError
from botshard.sharding.ids import BotId

__all__ = ["UnknownBotError", "UnknownVersionError"]


class UnknownBotError(TerminalError):
    """No bot of this id is in the catalog, or it is retired. `near` are ids that look like it, the nearest first."""

    def __init__(self, bot_id: str, known: Iterable[BotId], *, retired: bool = False) -> None:
        self.bot_id = bot_id
        self.retired = retired
        self.near = () if retired else tuple(near_names(bot_id, known))
        hint = f"; did you mean {' or '.join(self.near)}?" if self.near else ""
        what = "is retired; publish its folder to bring it back" if retired else f"is not in the catalog{hint}"
        super().__init__(f"bot {bot_id!r} {what}")


class UnknownVersionError(TerminalError):
    """The bot has no such version; `available` are those that it has."""

    def __init__(self, bot: Bot, version: int | None) -> None:
        self.bot_id = bot.id
        self.version = version
        self.available = tuple(one.number for one in bot.versions)
        numbers = ", ".join(map(str, self.available))
        if version is None:
            super().__init__(f"bot {bot.id!r}: version {bot.serving.number} is its first; there is none to go back to")
        else:
            super().__init__(f"bot {bot.id!r}: must be one of its versions {numbers}, found {version}")
