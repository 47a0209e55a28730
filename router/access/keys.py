"""API keys as requests show them: `Authorization: Bearer bsk_…` or `X-Api-Key: bsk_…`."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from botshard.store.access_keys import AccessKey, AccessKeys, digest_of_key, id_of_key
from botshard.store.documents import DocumentFollower
from router.access.principal import Principal, tag_for
from router.errors import NotReadyError, UnauthorizedError

__all__ = ["KeyRing"]

_REMEMBERED_S: Final = 60.0
_NOBODY: Final = "0" * 64
"""What a key with an unknown id is compared with, so that it takes as long as one that is known."""


class KeyRing:
    """The keys in force."""

    __slots__ = ("_clock_s", "_follower", "_wall_s")

    def __init__(
        self, follower: DocumentFollower[AccessKeys], *, clock_s: Callable[[], float], wall_s: Callable[[], float]
    ) -> None:
        self._follower = follower
        self._clock_s = clock_s
        self._wall_s = wall_s

    @property
    def held(self) -> AccessKeys | None:
        """The document in force; another object whenever it has changed."""
        return self._follower.value

    def who(self, presented: str, /) -> Principal:
        """Whose key it is.

        Raises: UnauthorizedError in the same words for a key that is unknown, wrong, or expired; NotReadyError.
        """
        held = self._follower.value
        if held is None and not self._follower.is_looked_for:
            raise NotReadyError("no access keys have been read yet", retry_after_s=1)
        key_id = id_of_key(presented)
        key = None if held is None or key_id is None else held.keys.get(key_id)
        is_right = hmac.compare_digest(digest_of_key(presented), _NOBODY if key is None else key.sha256)
        if key is None or not is_right or key.is_expired(self._wall_s()):
            raise UnauthorizedError("the API key is not known, or is not good any more")
        return self._principal(key, held)

    def still(self, principal: Principal, /) -> Principal:
        """The same by the keys that are in force now.

        Raises: UnauthorizedError.
        """
        held = self._follower.value
        before = principal.judged_by
        key = None if held is None else held.keys.get(principal.credential)
        was = before.keys.get(principal.credential) if isinstance(before, AccessKeys) else None
        if key is None or was is None or key.sha256 != was.sha256 or key.is_expired(self._wall_s()):
            raise UnauthorizedError("the API key is not known, or is not good any more")
        return self._principal(key, held)

    def _principal(self, key: AccessKey, held: AccessKeys | None) -> Principal:
        left_s = _REMEMBERED_S
        if key.expires_at_s is not None:
            left_s = min(left_s, key.expires_at_s - self._wall_s())
        return Principal(
            name=key.id,
            tenant=key.tenant,
            tag=tag_for(key.tenant),
            roles=key.roles,
            until_s=self._clock_s() + left_s,
            judged_by=held,
            credential=key.id,
        )
