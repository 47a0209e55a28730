"""Somebody who asks, and what was granted to one request of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from botshard.sharding.ids import TenantId
from botshard.store.access_keys import EVERY_TENANT, Role
from router.access.limiter import Taken
from router.errors import UnknownBotError
from router.table import BotRoute, TenantTag, is_of, tag_of

__all__ = ["Lease", "Principal", "owned_by", "tag_for"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Depends on nothing but the request's headers."""

    name: str
    """For logs: the id of a key, or the subject of a token. Never what would let anybody in."""
    tenant: TenantId
    """Whose bots they may ask; `*`: everybody's."""
    tag: TenantTag | None
    """Of the tenant; None: everybody's."""
    roles: frozenset[Role]
    until_s: float
    """Monotonic: what is known of them may be kept so long for requests with the same headers."""
    judged_by: object
    """The keys that they were judged by: when others are in force, the gate judges again."""
    credential: str
    """Which of these keys."""

    @property
    def may_administer(self) -> bool:
        """Whether they may see the whole fleet."""
        return Role.ADMIN in self.roles and self.tag is None


def tag_for(tenant: TenantId, /) -> TenantTag | None:
    """What bots of this tenant are told by; None: all bots are."""
    return None if tenant == EVERY_TENANT else tag_of(tenant)


def owned_by(principal: Principal, bot: BotRoute, /) -> bool:
    """Whether somebody may know of a bot."""
    return principal.tag is None or is_of(bot, principal.tag)


class Lease:
    """One request that was let in. `give_back` at its end, whatever it was."""

    __slots__ = ("_clock_s", "_taken", "bot", "principal")

    def __init__(
        self, principal: Principal, bot: BotRoute | None, taken: Taken | None, clock_s: Callable[[], float]
    ) -> None:
        self.principal = principal
        self.bot = bot
        """The bot's route; None where it is not known here, and where it is another tenant's: to them, it is not."""
        self._taken = taken
        self._clock_s = clock_s

    def found(self, bot_id: str, bot: BotRoute, /) -> None:
        """The bot was found in the store.

        Raises: UnknownBotError where it is another tenant's; LimitedError.
        """
        if not owned_by(self.principal, bot):
            raise UnknownBotError.of(bot_id)
        self.bot = bot
        if self._taken is not None:
            self._taken.also(bot_id, self._clock_s())

    def give_back(self) -> None:
        """The request has ended."""
        if self._taken is not None:
            self._taken.give_back(self._clock_s())
            self._taken = None
