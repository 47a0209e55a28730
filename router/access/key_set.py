"""The public keys that tokens are signed with (a JSON Web Key Set), from a file or over HTTPS, followed as they change.

Keys are read again every few minutes, and at once when a token names one that is not known: an issuer that has begun
to sign with a new key is understood a moment later. However many such tokens come, the issuer is asked once in a few
seconds at most. A set that cannot be read, or has no key that fits, is refused whole; the last good one stays.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from router.access.claims import ALGORITHMS

__all__ = ["KeySet", "KeySetFollower", "SigningKey", "read_key_set"]

_CURVES: Final[Mapping[str, str]] = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
_LEAST_RSA_BITS: Final = 2048
_FETCH_TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 1 << 20
_MOST_KEYS: Final = 1000


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key."""

    kid: str
    thumbprint: str
    """Equal for equal keys only."""
    by_algorithm: Mapping[str, PyJWK]
    """The key as each algorithm that it may be used with takes it."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys in force; another object whenever they have changed."""

    keys: Mapping[str, SigningKey] = field(default_factory=dict)
    """{kid: key}; a key without one has the name ``."""

    def find(self, kid: str | None, /) -> SigningKey | None:
        """The key that a token names; a token that names none is for the only key there is."""
        if kid is None:
            return next(iter(self.keys.values())) if len(self.keys) == 1 else None
        return self.keys.get(kid)


def read_key_set(data: bytes, algorithms: Iterable[str], /) -> KeySet:
    """The keys in a JSON Web Key Set that one of `algorithms` can use; others are none of ours.

    Raises: ValueError that says why there are none.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise ValueError(f"it must be an object with a list `keys` of at most {_MOST_KEYS}")
    keys: dict[str, SigningKey] = {}
    wanted = tuple(algorithms)
    for item in listed:
        key = _read_key(item, wanted) if isinstance(item, dict) else None
        if key is None:
            continue
        if key.kid in keys:
            raise ValueError(f"two keys have the kid {key.kid[:64]!r}")
        keys[key.kid] = key
    if not keys:
        raise ValueError(f"it has no key for {', '.join(wanted)}")
    return KeySet(keys)


def _read_key(item: dict[str, Any], algorithms: tuple[str, ...]) -> SigningKey | None:
    kid = item.get("kid", "")
    if not isinstance(kid, str) or item.get("use", "sig") != "sig" or "d" in item or "k" in item:
        return None
    forms: dict[str, PyJWK] = {}
    for algorithm in algorithms:
        if item.get("kty") != ALGORITHMS[algorithm] or item.get("alg", algorithm) != algorithm:
            continue
        if item.get("crv") != _CURVES.get(algorithm):
            continue
        try:
            form = PyJWK(item, algorithm)
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        if ALGORITHMS[algorithm] == "RSA" and form.key.key_size < _LEAST_RSA_BITS:
            continue
        forms[algorithm] = form
    if not forms:
        return None
    canonical = json.dumps(item, sort_keys=True, separators=(",", ":"))
    return SigningKey(kid, hashlib.sha256(canonical.encode()).hexdigest(), forms)


class KeySetFollower:
    """Holds the newest acceptable key set. `refresh` is called by one thread again and again; `want` by the loop."""

    key = "ROUTER_JWKS"

    def __init__(
        self,
        url: str,
        /,
        *,
        algorithms: Iterable[str],
        interval_s: float,
        least_gap_s: float = 5.0,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        """`interval_s`: between two looks; `least_gap_s`: the same where somebody wants a key that is not here."""
        self._algorithms = tuple(algorithms)
        self._interval_s = interval_s
        self._least_gap_s = least_gap_s
        parts = urlsplit(url)
        self._path = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._url = url
        self._tls = tls
        self._looked_at_s = float("-inf")
        self._is_wanted = False
        self._signature: object = None
        self._fetching: threading.Thread | None = None
        self._digest = b""
        self.fetches = 0
        """Looks at the source that brought its bytes, or failed to."""
        self.value: KeySet | None = None
        """In force; None until one was acceptable."""
        self.problem: str | None = None
        """Why what is there now was refused, or could not be read."""

    def want(self) -> bool:
        """A token names a key that is not here: look soon. False where that was done a moment ago."""
        if self._path is None and self.value is not None and monotonic() - self._looked_at_s < self._least_gap_s:
            return self._fetching is not None and self._fetching.is_alive()
        if self._path is not None and self.value is not None and not self._has_changed(self._path):
            return False
        self._is_wanted = True
        return True

    def refresh(self) -> bool:
        """Look, where it is time to; True where other keys are in force.

        A file is read here. Over the network a thread of its own reads; only the first time it is waited for, so that
        a router that says it is ready knows its keys.
        """
        before = self.value
        if self._path is not None:
            if self._is_wanted or self._has_changed(self._path):
                self._is_wanted = False
                self._read_file(self._path)
            return self.value is not before
        now_s = monotonic()
        gap_s = self._least_gap_s if self._is_wanted or self.value is None else self._interval_s
        if now_s - self._looked_at_s < gap_s or (self._fetching is not None and self._fetching.is_alive()):
            return False
        is_first = self._looked_at_s == float("-inf")
        self._is_wanted = False
        self._looked_at_s = now_s
        self._fetching = threading.Thread(target=self._fetch, name="key set", daemon=True)
        self._fetching.start()
        if is_first:
            self._fetching.join(_FETCH_TIMEOUT_S)
        return self.value is not before

    def _has_changed(self, path: Path) -> bool:
        try:
            found = path.stat()
        except OSError as error:
            signature: object = str(error)
        else:
            signature = (found.st_mtime_ns, found.st_size, found.st_ino)
        return signature != self._signature

    def _read_file(self, path: Path) -> None:
        self.fetches += 1
        try:
            found = path.stat()
            self._signature = (found.st_mtime_ns, found.st_size, found.st_ino)
            data = path.read_bytes()
        except OSError as error:
            self._signature = str(error)
            self.problem = f"the key set cannot be read: {error}"
            return
        self._take(data)

    def _fetch(self) -> None:
        self.fetches += 1
        opener = OpenerDirector()
        for handler in (HTTPSHandler(context=self._tls()), _NoRedirect()):
            opener.add_handler(handler)
        try:
            request = Request(self._url, headers={"Accept": "application/json"})  # noqa: S310 - https, by the settings
            with opener.open(request, timeout=_FETCH_TIMEOUT_S) as answer:
                status, data = answer.status, answer.read(_MAX_BYTES + 1)
        except (OSError, URLError, ValueError) as error:
            self.problem = f"the key set cannot be fetched: {error}"
            return
        if status != 200 or len(data) > _MAX_BYTES:
            self.problem = f"the key set cannot be fetched: status {status}, {len(data)} bytes"
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        if digest != self._digest:
            try:
                self.value = read_key_set(data, self._algorithms)
            except ValueError as error:
                self.problem = f"the key set is refused: {error}"
                return
            self._digest = digest
        self.problem = None


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an answer that is not 200: where keys come from is what the settings say."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None: not followed."""
