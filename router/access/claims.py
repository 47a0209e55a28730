"""What tokens must say. Apart from the code that verifies them, which a router without tokens never loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["ALGORITHMS", "Claims"]

ALGORITHMS: Final[Mapping[str, str]] = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "EdDSA": "OKP",
}
"""{algorithm: type of its keys}. All of them sign with a private key: with a shared secret, or without any, whoever
knows the public key could write tokens."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token must say, and where it says what matters here."""

    issuer: str
    audiences: tuple[str, ...]
    """Any of them."""
    tenant: str = "tenant"
    """Name of the claim with the tenant; dots lead into objects."""
    roles: str = "roles"
    """Name of the claim with the roles: a list, or words with spaces between. Absent: the role infer."""
    leeway_s: float = 30.0
    """How far clocks may be apart."""
