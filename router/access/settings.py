"""What of access control is on, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from botshard.environ import EnvironReader
from router.access.claims import ALGORITHMS, Claims

__all__ = ["VARIABLES", "AccessSettings", "TlsSettings", "TokenSettings"]

VARIABLES: Final[Mapping[str, str]] = {
    "ROUTER_ACCESS": "on: requests need an API key or a token; off (off; on where ROUTER_JWKS is set)",
    "ROUTER_OPEN": "true: may listen beyond loopback although nobody is asked who they are (false)",
    "ROUTER_METRICS_OPEN": "true: /metrics needs no role where access control is on (false)",
    "ROUTER_JWKS": "keys of tokens: file:///path or https://…; without: no tokens",
    "ROUTER_JWKS_INTERVAL_S": "seconds between looks at an https key set (300)",
    "ROUTER_JWT_ISSUER": "what tokens must say of iss; needed with ROUTER_JWKS",
    "ROUTER_JWT_AUDIENCE": "what tokens must say of aud, several with commas; needed with ROUTER_JWKS",
    "ROUTER_JWT_ALGORITHMS": "signatures that are taken, with commas (RS256,ES256,EdDSA)",
    "ROUTER_JWT_TENANT_CLAIM": "claim that names the tenant (tenant)",
    "ROUTER_JWT_ROLES_CLAIM": "claim with the roles (roles)",
    "ROUTER_JWT_LEEWAY_S": "seconds that clocks may be apart (30)",
    "ROUTER_TLS_CERT": "PEM file with the certificate and its chain: clients come over TLS",
    "ROUTER_TLS_KEY": "PEM file with its private key",
    "ROUTER_TLS_CLIENT_CA": "PEM file with authorities: clients need a certificate of one of them",
    "ROUTER_UPSTREAM_CA": "PEM file with the authorities of https pools, instead of the system's",
    "ROUTER_UPSTREAM_CERT": "PEM file with the certificate that is shown to https pools",
    "ROUTER_UPSTREAM_KEY": "PEM file with its private key",
}

_DEFAULT_ALGORITHMS: Final = "RS256,ES256,EdDSA"


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Tokens that are taken."""

    key_set_url: str
    claims: Claims
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    interval_s: float = 300.0


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files for the security of connections; empty: none."""

    cert: str = ""
    key: str = ""
    client_ca: str = ""
    upstream_ca: str = ""
    upstream_cert: str = ""
    upstream_key: str = ""

    @classmethod
    def read(cls, reader: EnvironReader, /) -> TlsSettings:
        """What the environment says."""
        tls = cls(
            cert=reader.text("ROUTER_TLS_CERT"),
            key=reader.text("ROUTER_TLS_KEY"),
            client_ca=reader.text("ROUTER_TLS_CLIENT_CA"),
            upstream_ca=reader.text("ROUTER_UPSTREAM_CA"),
            upstream_cert=reader.text("ROUTER_UPSTREAM_CERT"),
            upstream_key=reader.text("ROUTER_UPSTREAM_KEY"),
        )
        for prefix, cert, key in (
            ("ROUTER_TLS", tls.cert, tls.key),
            ("ROUTER_UPSTREAM", tls.upstream_cert, tls.upstream_key),
        ):
            if bool(cert) != bool(key):
                missing = f"{prefix}_KEY" if cert else f"{prefix}_CERT"
                reader.refuse(missing, None, f"set beside {prefix}_{'CERT' if cert else 'KEY'}")
        if tls.client_ca and not tls.cert:
            reader.refuse("ROUTER_TLS_CERT", None, "set beside ROUTER_TLS_CLIENT_CA")
        return tls


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may."""

    is_on: bool = False
    may_be_open: bool = False
    """Whether anybody who reaches the router may use it although that is more than this machine."""
    metrics_open: bool = False
    tokens: TokenSettings | None = None

    @classmethod
    def read(cls, reader: EnvironReader, /) -> AccessSettings:
        """What the environment says."""
        tokens = _read_tokens(reader)
        said = reader.choice("ROUTER_ACCESS", ("on", "off"), "on" if tokens else "off")
        if tokens is not None and said == "off":
            reader.refuse("ROUTER_ACCESS", said, "on where ROUTER_JWKS is set")
        return cls(
            is_on=said == "on",
            may_be_open=reader.boolean("ROUTER_OPEN", default=False),
            metrics_open=reader.boolean("ROUTER_METRICS_OPEN", default=False),
            tokens=tokens,
        )


def _read_tokens(reader: EnvironReader) -> TokenSettings | None:
    url = reader.text("ROUTER_JWKS")
    if not url:
        return None
    if not _is_source(url):
        reader.refuse("ROUTER_JWKS", "something else (not shown)", "file:///path or https://host/path without a user")
    needed = "set beside ROUTER_JWKS: "
    issuer = reader.required("ROUTER_JWT_ISSUER", needed + VARIABLES["ROUTER_JWT_ISSUER"])
    audience = reader.required("ROUTER_JWT_AUDIENCE", needed + VARIABLES["ROUTER_JWT_AUDIENCE"])
    claims = Claims(
        issuer=issuer,
        audiences=_words(audience),
        tenant=reader.text("ROUTER_JWT_TENANT_CLAIM", "tenant"),
        roles=reader.text("ROUTER_JWT_ROLES_CLAIM", "roles"),
        leeway_s=reader.seconds("ROUTER_JWT_LEEWAY_S", 30.0, at_least=0.0, at_most=600.0),
    )

    def algorithms(text: str) -> tuple[str, ...]:
        words = _words(text)
        if not words or not set(words) <= set(ALGORITHMS):
            raise ValueError(text)
        return words

    taken = reader.parsed(
        "ROUTER_JWT_ALGORITHMS", algorithms, _words(_DEFAULT_ALGORITHMS), "some of " + ",".join(ALGORITHMS)
    )
    interval_s = reader.seconds("ROUTER_JWKS_INTERVAL_S", 300.0, at_least=5.0, at_most=86_400.0)
    return TokenSettings(url, claims, taken, interval_s)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _is_source(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "file":
        return parts.netloc in ("", "localhost") and parts.path.startswith("/")
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
