"""Whether a request may be let in: the tenant's limit, the bot's limit, and an equal share of what all may have.

Pure but for what it keeps: the clock is passed in. Whatever is refused costs nothing: all limits are looked at before
anything is taken.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from botshard.sharding.ids import TenantId
from botshard.store.access_limits import AccessLimits
from router.access.buckets import Bucket, Buckets
from router.errors import LimitedError

__all__ = ["Limiter", "Taken"]

_MOST_BUCKETS: Final = 10_000
_LEAST_WAIT_S: Final = 0.001


class Taken:
    """What a request holds until it has ended."""

    __slots__ = ("_began_s", "_bot", "_limiter", "_tenant")

    def __init__(self, limiter: Limiter, tenant: Bucket | None, bot: Bucket | None, now_s: float) -> None:
        self._limiter = limiter
        self._tenant = tenant
        self._bot = bot
        self._began_s = now_s

    def also(self, bot: str, now_s: float, /) -> None:
        """Take the limit of a bot that was found late.

        Raises: LimitedError.
        """
        bucket = self._limiter.bucket_of_bot(bot, now_s)
        if bucket is not None and self._bot is None:
            self._limiter.check(bucket, now_s, cause="bot", name=bot)
            bucket.take(now_s)
            self._bot = bucket

    def give_back(self, now_s: float, /) -> None:
        """The request has ended. Only the first call counts."""
        held_s = now_s - self._began_s
        if self._tenant is not None:
            self._limiter.ended(self._tenant, held_s)
            self._tenant = None
        if self._bot is not None:
            self._bot.give_back(held_s)
            self._bot = None


class Limiter:
    """All limits of one router process."""

    __slots__ = ("_active", "_bots", "_in_flight", "_limits", "_shared", "_tenants", "_workers", "limited")

    def __init__(self, *, workers: int = 1, most: int = _MOST_BUCKETS) -> None:
        """`workers`: processes like this one on this machine, among which clients are spread.

        `most`: tenants, and bots, that are remembered although nothing of theirs is in flight.
        """
        self._workers = workers
        self._limits = AccessLimits()
        self._tenants = Buckets(most=most, shares=workers)
        self._bots = Buckets(most=most, shares=workers)
        self._shared: int | None = None
        self._in_flight = 0
        self._active = 0
        self.limited: Counter[str] = Counter()
        """{cause: requests that were refused}"""

    def __repr__(self) -> str:
        return f"<Limiter tenants={len(self._tenants)} bots={len(self._bots)} in_flight={self._in_flight}>"

    @property
    def limits(self) -> AccessLimits:
        """Those in force."""
        return self._limits

    def follow(self, limits: AccessLimits, /) -> None:
        """Put other limits in force."""
        self._limits = limits
        shares = self._workers * limits.routers
        self._tenants.share(shares)
        self._bots.share(shares)
        shared = limits.shared_concurrency
        self._shared = None if shared is None else max(1, -(-shared // shares))

    def take(self, tenant: TenantId, bot: str | None, now_s: float, /) -> Taken | None:
        """Let a request in; None: nothing limits it, so there is nothing to give back.

        Args:
            tenant: who asks.
            bot: which bot; None: none, or one that is not theirs for all that is known.
            now_s: a clock that only goes forward.

        Raises: LimitedError.
        """
        limit = self._limits.of_tenant(tenant)
        of_tenant = None
        if self._shared is not None or not limit.is_none:
            of_tenant = self._tenants.get(tenant, limit, now_s)
            self.check(of_tenant, now_s, cause="tenant", name=tenant)
            if self._shared is not None and self._in_flight >= self._shared:
                self._check_share(of_tenant, tenant, self._shared)
        of_bot = None if bot is None else self.bucket_of_bot(bot, now_s)
        if of_bot is not None:
            self.check(of_bot, now_s, cause="bot", name=bot or "")
            of_bot.take(now_s)
        elif of_tenant is None:
            return None if bot is not None or self._has_no_bot_limits() else Taken(self, None, None, now_s)
        if of_tenant is not None:
            self._active += of_tenant.in_flight == 0
            self._in_flight += 1
            of_tenant.take(now_s)
        return Taken(self, of_tenant, of_bot, now_s)

    def bucket_of_bot(self, bot: str, now_s: float, /) -> Bucket | None:
        """The bucket of a bot; None where it is not limited."""
        limit = self._limits.of_bot(bot)
        return None if limit.is_none else self._bots.get(bot, limit, now_s)

    def ended(self, tenant: Bucket, held_s: float, /) -> None:
        """A request of a tenant has ended."""
        tenant.give_back(held_s)
        self._in_flight -= 1
        self._active -= tenant.in_flight == 0

    def _has_no_bot_limits(self) -> bool:
        return self._limits.bot.is_none and not self._limits.bots

    def check(self, bucket: Bucket, now_s: float, *, cause: str, name: str) -> None:
        """Whether one more fits into a bucket; takes nothing.

        Raises: LimitedError.
        """
        wait_s = bucket.wait_s(now_s)
        if wait_s:
            raise self._refusal(
                f"{cause} {name!r} is asked more often than {bucket.limit.rate_per_s:g} times a second; "
                f"ask again in {wait_s:.3g} s",
                cause=f"{cause}_rate",
                retry_after_s=wait_s,
            )
        if bucket.is_crowded():
            raise self._refusal(
                f"{cause} {name!r} has {bucket.in_flight} requests in flight here, which is all that it may have",
                cause=f"{cause}_concurrency",
                retry_after_s=bucket.held_s,
            )

    def _check_share(self, bucket: Bucket, tenant: TenantId, shared: int) -> None:
        """Where as much is in flight as may be, a tenant is let in up to an equal share, and no further."""
        asking = self._active + (bucket.in_flight == 0)
        share = max(1, shared // asking)
        if bucket.in_flight >= share:
            raise self._refusal(
                f"tenant {tenant!r} has {bucket.in_flight} requests in flight here, and while others wait its share "
                f"is {share}",
                cause="shared",
                retry_after_s=bucket.held_s,
            )

    def _refusal(self, message: str, *, cause: str, retry_after_s: float) -> LimitedError:
        self.limited[cause] += 1
        return LimitedError(message, cause=cause, retry_after_s=max(_LEAST_WAIT_S, retry_after_s))
