"""JSON Web Tokens: whose they are, by the keys of their issuer.

Which algorithms are taken is set by the operator and bound to each key, never read from a token. A token is verified
once and then known by its digest until its time is up or its key is withdrawn.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    MissingRequiredClaimError,
    PyJWTError,
)

from botshard.sharding.ids import TenantId
from botshard.store.access_keys import Role, check_key_tenant
from router.access.claims import Claims
from router.access.key_set import KeySet, KeySetFollower
from router.access.principal import Principal, tag_for
from router.errors import NotReadyError, UnauthorizedError

__all__ = ["Tokens"]

_MAX_TOKEN_CHARS: Final = 16 * 1024
_REMEMBERED_S: Final = 300.0
_MOST_REMEMBERED: Final = 4096
_MAX_NAME_CHARS: Final = 128
_REASONS: Final = (
    (ExpiredSignatureError, "the token's time is up"),
    (ImmatureSignatureError, "the token's time has not come yet"),
    (InvalidAudienceError, "the token is for another audience"),
    (InvalidIssuerError, "the token is from another issuer"),
    (InvalidAlgorithmError, "the token is signed in a way that is not taken here"),
)


class Tokens:
    """Verifies tokens."""

    __slots__ = ("_claims", "_clock_s", "_follower", "_known", "_wall_s")

    def __init__(
        self,
        follower: KeySetFollower,
        claims: Claims,
        *,
        clock_s: Callable[[], float],
        wall_s: Callable[[], float],
    ) -> None:
        self._follower = follower
        self._claims = claims
        self._clock_s = clock_s
        self._wall_s = wall_s
        self._known: OrderedDict[bytes, Principal] = OrderedDict()

    def who(self, token: str, /) -> Principal:
        """Whose token it is.

        Raises: UnauthorizedError; NotReadyError where its key is not known and is being asked for.
        """
        held = self._follower.value
        if held is None:
            raise NotReadyError("the keys of tokens have not been read yet", retry_after_s=1)
        if len(token) > _MAX_TOKEN_CHARS:
            raise UnauthorizedError("the token is too long")
        digest = hashlib.sha256(token.encode("latin-1")).digest()
        known = self._known.get(digest)
        if known is not None:
            if known.judged_by is held and known.until_s > self._clock_s():
                self._known.move_to_end(digest)
                return known
            del self._known[digest]
        principal = self._verified(token, held)
        self._known[digest] = principal
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return principal

    def still(self, principal: Principal, /) -> Principal:
        """The same by the keys that are in force now.

        Raises: UnauthorizedError where the key that signed it is not among them any more.
        """
        held = self._follower.value
        if held is None or principal.judged_by is held:
            return principal
        if not any(_credential(key.kid, key.thumbprint) == principal.credential for key in held.keys.values()):
            raise UnauthorizedError("the key that signed the token was withdrawn")
        return principal

    def _verified(self, token: str, held: KeySet) -> Principal:
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError) as error:
            raise UnauthorizedError("what says who asks is neither a key of ours nor a token") from error
        key = held.find(header.get("kid"))
        if key is None:
            if self._follower.want():
                raise NotReadyError("the key that signed the token is not known yet, and is asked for", retry_after_s=1)
            raise UnauthorizedError("the key that signed the token is not known")
        algorithm = header.get("alg")
        form = key.by_algorithm.get(algorithm) if isinstance(algorithm, str) else None
        if form is None or not isinstance(algorithm, str):
            raise UnauthorizedError("the token is signed in a way that is not taken here")
        claims = self._claims
        try:
            payload = jwt.decode(
                token,
                key=form,
                algorithms=[algorithm],  # that of the key, which is one of those that the settings name
                audience=claims.audiences,
                issuer=claims.issuer,
                leeway=claims.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise UnauthorizedError(_why(error)) from error
        return self._principal(payload, held, _credential(key.kid, key.thumbprint))

    def _principal(self, payload: Mapping[str, Any], held: KeySet, credential: str) -> Principal:
        tenant = _claim(payload, self._claims.tenant)
        if check_key_tenant(tenant) is not None:
            raise UnauthorizedError(f"the token's claim {self._claims.tenant!r} does not name a tenant")
        left_s = float(payload["exp"]) + self._claims.leeway_s - self._wall_s()
        return Principal(
            name=str(payload.get("sub", ""))[:_MAX_NAME_CHARS],
            tenant=TenantId(str(tenant)),
            tag=tag_for(TenantId(str(tenant))),
            roles=_roles(_claim(payload, self._claims.roles)),
            until_s=self._clock_s() + min(left_s, _REMEMBERED_S),
            judged_by=held,
            credential=credential,
        )


def _credential(kid: str, thumbprint: str) -> str:
    return f"{kid} {thumbprint}"


def _claim(payload: Mapping[str, Any], name: str) -> object:
    """A claim by its name, or by its way through objects."""
    if name in payload:
        return payload[name]
    found: object = payload
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _roles(said: object) -> frozenset[Role]:
    if said is None:
        return frozenset({Role.INFER})
    words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(role for role in Role if role in words)


def _why(error: Exception) -> str:
    if isinstance(error, MissingRequiredClaimError):
        return f"the token has no claim {error.claim!r}"
    return next((why for kind, why in _REASONS if isinstance(error, kind)), "the token is not good")
