"""What every request passes where access control is on: who asks, and whether this may be asked now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Final

from botshard.sharding.errors import ShardingError
from botshard.store.access_keys import AccessKeys, Role
from botshard.store.access_limits import AccessLimits
from botshard.store.documents import DocumentFollower
from router.access.keys import KeyRing
from router.access.limiter import Limiter
from router.access.principal import Lease, Principal, owned_by
from router.errors import ForbiddenError, LimitedError, UnauthorizedError
from router.table import BotRoute

if TYPE_CHECKING:
    from router.access.tokens import Tokens

__all__ = ["SECRET_FIELDS", "Gate"]

SECRET_FIELDS: Final = frozenset({b"authorization", b"x-api-key"})
"""Headers that say who asks: they were for the router and end here, pools do not see them."""

_HOW: Final = "send `Authorization: Bearer …` or `X-Api-Key: …`"


class Gate:
    """See the module. `who` depends on a request's head alone; `admit` is asked once for every request."""

    __slots__ = ("_clock_s", "_followed", "_keys", "_limiter", "_tokens")

    def __init__(
        self,
        keys: KeyRing,
        tokens: Tokens | None,
        *,
        limits: DocumentFollower[AccessLimits],
        workers: int = 1,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        """`workers`: processes like this one that share the limits."""
        self._keys = keys
        self._tokens = tokens
        self._followed = limits
        self._limiter = Limiter(workers=workers)
        self._clock_s = clock_s

    @property
    def limited(self) -> Mapping[str, int]:
        """How many requests each limit has refused, by its cause."""
        return self._limiter.limited

    def who(self, fields: Mapping[bytes, bytes], /) -> Principal:
        """Who asks, told by a request's headers (names in lower case) or a call's metadata.

        May be kept for requests with the same head until `principal.until_s`.

        Raises: UnauthorizedError, NotReadyError.
        """
        authorization, api_key = fields.get(b"authorization"), fields.get(b"x-api-key")
        if authorization is None and api_key is None:
            raise UnauthorizedError(f"nothing says who asks; {_HOW}")
        if authorization is not None and api_key is not None:
            raise UnauthorizedError("two headers say who asks; send one of Authorization and X-Api-Key")
        if authorization is not None:
            scheme, _, value = authorization.partition(b" ")
            if scheme.lower() != b"bearer":
                raise UnauthorizedError(f"that form of Authorization is not known here; {_HOW}")
            api_key = value.strip()
        shown = (api_key or b"").decode("latin-1")
        if self._tokens is not None and authorization is not None and not shown.startswith("bsk_"):
            return self._tokens.who(shown)
        return self._keys.who(shown)

    def admit(self, principal: Principal, bot_id: str, bot: BotRoute | None, /) -> Lease:
        """Let one request in.

        Args:
            principal: what `who` said.
            bot_id: which bot is asked.
            bot: its route; None where it is not known here. Once it is found in the store, `Lease.found` is told.

        Raises: UnauthorizedError where the key was withdrawn; ForbiddenError; LimitedError.
        """
        principal = self.still(principal)
        if Role.INFER not in principal.roles:
            raise ForbiddenError("asking bots needs the role infer")
        if bot is not None and not owned_by(principal, bot):
            bot = None  # looked for in the store as an unknown one is, and then denied in the same words
        return self._let_in(principal, None if bot is None else bot_id, bot)

    def admit_quietly(self, principal: Principal, bot_id: str, bot: BotRoute, /) -> Lease | None:
        """As `admit`, for who goes another way where it is refused, and is refused there again: None, and not counted.

        Takes nothing for a bot that is another tenant's: the other way takes for it what an unknown one costs.
        """
        if not owned_by(principal, bot):
            return None
        try:
            return self.admit(principal, bot_id, bot)
        except LimitedError as error:
            self._limiter.limited[error.cause] -= 1
            return None
        except ShardingError:
            return None

    def admit_to_listings(self, principal: Principal, /) -> Lease:
        """Let a request in that is about no bot but about all that somebody may see; raises as `admit`."""
        return self._let_in(self.still(principal), None, None)

    def admit_to_administration(self, principal: Principal, /) -> Lease:
        """Let a request in that sees the whole fleet; raises as `admit`."""
        principal = self.still(principal)
        if not principal.may_administer:
            raise ForbiddenError("this needs the role admin for all tenants")
        return Lease(principal, None, None, self._clock_s)

    def still(self, principal: Principal, /) -> Principal:
        """The principal by what is known now. Raises: UnauthorizedError where the key or the token's was withdrawn."""
        judged_by = principal.judged_by
        if judged_by is self._keys.held:
            return principal
        if isinstance(judged_by, AccessKeys):
            return self._keys.still(principal)
        if self._tokens is not None:
            return self._tokens.still(principal)
        raise UnauthorizedError("tokens are not taken here")

    def _let_in(self, principal: Principal, bot_id: str | None, bot: BotRoute | None) -> Lease:
        limits = self._followed.value
        if limits is not None and limits is not self._limiter.limits:
            self._limiter.follow(limits)
        taken = self._limiter.take(principal.tenant, bot_id, self._clock_s())
        return Lease(principal, bot, taken, self._clock_s)
