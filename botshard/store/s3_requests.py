"""Requests to one bucket: signed, bounded in time and attempts, with errors of ours.

Requests are signed in their headers, never in the URL: HTTP libraries put URLs into exceptions and debug logs, and a
presigned one holds the access key and a signature. A signature is good for 15 minutes and covers no condition,
so that of a GET is kept for a while: a poll costs one request on an open connection and no cryptography.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, TypedDict, Unpack
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from botshard.sharding.errors import CallerError
from botshard.store.base import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from botshard.store.minio_client import (
    InvalidResponseError,
    MinioException,
    Provider,
    S3Error,
    ServerError,
    amz_time,
    sign_v4_s3,
)

__all__ = [
    "CLIENT_ERRORS",
    "CONNECT_TIMEOUT_S",
    "READ_TIMEOUT_S",
    "Answer",
    "S3Requests",
    "SendOptions",
    "attempts",
    "translated",
    "translated_answer",
]

ATTEMPTS = 3
CLIENT_ERRORS = (HTTPError, MinioException, ParseError, ValueError)
"""What the client library raises, the last two where an answer is no S3 document."""
_BACKOFF_S = 0.1
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 20.0
_SIGNATURE_AGE_S = 300.0  # a third of what servers accept, so that clocks may differ by ten minutes
_SIGNATURES_KEPT = 1024
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_CHUNK_BYTES = 1 << 20
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_FULL_CODE = "XMinioStorageFull"
# MinIO calls it by its name only once it has noticed; the write that fills the disk gets an internal error with this.
_NO_SPACE_TEXT = b"no space left on device"
_RETRIED = frozenset({429, 500, 502, 503, 504})
_FULL_CODES = frozenset({_FULL_CODE, "StorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})
_CREDENTIAL_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId", "ExpiredToken"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    doubtful: bool = False
    """An earlier attempt of this request got no answer, so that it may have been carried out."""

    @property
    def etag(self) -> str:
        """The object's etag, without quotes."""
        return self.headers.get("ETag", "").strip('"')

    @property
    def code(self) -> str:
        """The error code in the body; empty where there is none."""
        if self.status >= 400 and _NO_SPACE_TEXT in self.data:
            return _FULL_CODE
        match = _CODE.search(self.data)
        return match.group(1).decode() if match else ""


class SendOptions(TypedDict, total=False):
    """What a request may have besides method and key."""

    body: bytes
    headers: Mapping[str, str]
    """Conditions; they are not signed, and need not be."""
    into: BinaryIO
    """A file that takes the body of a 200, from its start at each attempt."""
    limit: int
    """Attempts."""
    read_timeout_s: float


class S3Requests:
    """Signs and sends requests for objects of one bucket."""

    def __init__(
        self, pool: HTTPConnectionPool, base_url: str, /, *, region: str, credentials: Provider, where: str
    ) -> None:
        """`base_url` is what an object's key is appended to; `where` names the store in errors."""
        self._pool = pool
        self._base_url = base_url
        self._path = urlsplit(base_url).path
        self._region = region
        self._credentials = credentials
        self._where = where
        self._signed: dict[str, tuple[float, dict[str, str]]] = {}

    def send(self, method: str, key: str, /, **options: Unpack[SendOptions]) -> Answer:
        """The server's answer to a request, tried again where none came or the server could not.

        Raises: StoreUnavailableError, StoreDeniedError; the meaning of a status is the caller's to judge.
        """
        limit = options.get("limit", ATTEMPTS)
        doubtful = False
        for last in attempts(limit):
            try:
                answer = self._authorised(method, key, options)
            except HTTPError as error:
                # Only where no connection came about is it sure that nothing was done.
                doubtful = doubtful or not isinstance(error, NewConnectionError | ConnectTimeoutError)
                if last or isinstance(error, SSLError):
                    raise translated(error, key, self._where) from error
                continue
            if last or answer.status not in _RETRIED or answer.code in _FULL_CODES:
                return replace(answer, doubtful=doubtful)
            doubtful = True
        raise CallerError(f"a request needs at least one attempt, not {limit}")

    def _authorised(self, method: str, key: str, options: SendOptions) -> Answer:
        """One attempt; after a 403 once more, since a kept signature may be older than a change of clock or secret."""
        answer = self._exchange(method, key, options, fresh=False)
        if answer.status == 403 and method == "GET":
            answer = self._exchange(method, key, options, fresh=True)
        return answer

    def _exchange(self, method: str, key: str, options: SendOptions, *, fresh: bool) -> Answer:
        body, into = options.get("body"), options.get("into")
        response: BaseHTTPResponse = self._pool.urlopen(
            method,
            self._path + key,
            body=body,
            headers={**self._signature(method, key, body, fresh=fresh), **options.get("headers", {})},
            retries=False,
            redirect=False,
            timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=options.get("read_timeout_s", READ_TIMEOUT_S)),
            preload_content=into is None,
        )
        if into is None:
            return Answer(response.status, response.headers, response.data)
        try:
            if response.status != 200:
                return Answer(response.status, response.headers, response.read())
            into.seek(0)
            into.truncate()
            for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
                into.write(chunk)
            return Answer(200, response.headers, b"")
        finally:
            response.close()  # a connection whose body was read is back in the pool already; another is of no use

    def _signature(self, method: str, key: str, body: bytes | None, *, fresh: bool) -> dict[str, str]:
        """Headers that authorise a request; kept for a while for a GET."""
        now_s = time.monotonic()
        if method == "GET" and not fresh:
            kept = self._signed.get(key)
            if kept is not None and kept[0] > now_s:
                return kept[1]
        credentials = self._credentials.retrieve()
        url = urlsplit(self._base_url + key)
        sha256 = hashlib.sha256(body).hexdigest() if body else _EMPTY_SHA256
        date = amz_time.utcnow()
        headers = {"Host": url.netloc, "x-amz-content-sha256": sha256, "x-amz-date": amz_time.to_amz_date(date)}
        if credentials.session_token:
            headers["x-amz-security-token"] = credentials.session_token
        signed: dict[str, str] = sign_v4_s3(
            method=method,
            url=url,
            region=self._region,
            headers=headers,
            credentials=credentials,
            content_sha256=sha256,
            date=date,
        )
        if method == "GET":
            if len(self._signed) >= _SIGNATURES_KEPT:
                self._signed.clear()
            self._signed[key] = (now_s + _SIGNATURE_AGE_S, signed)
        return signed


def attempts(limit: int = ATTEMPTS, /) -> Iterator[bool]:
    """Yields once an attempt whether it is the last, and waits a growing, jittered time between them."""
    for attempt in range(limit):
        if attempt:
            time.sleep(_BACKOFF_S * 2 ** (attempt - 1) * (0.5 + random.random()))  # noqa: S311 - spreads clients
        yield attempt == limit - 1


def translated(error: Exception, key: str, where: str, /) -> StoreError:
    """Our error for one of the HTTP or client library's."""
    match error:
        case S3Error():
            full = _NO_SPACE_TEXT.decode() in (error.message or "")
            return _by_status(error.response.status, _FULL_CODE if full else error.code or "", key, where)
        case ServerError():
            return _by_status(error.status_code, "", key, where)
        case InvalidResponseError() | ParseError() | ValueError():
            return StoreUnavailableError(f"{where}: what answers there does not speak S3; check the endpoint")
        case SSLError():
            reason = "its certificate is not trusted; AWS_CA_BUNDLE can name a file of authorities"
            return StoreDeniedError(f"{where}: {reason}")
        case _:
            reason = str(error).rsplit(": ", 1)[-1]
            return StoreUnavailableError(f"{where}: cannot be reached ({reason})", retry_after_s=1.0)


def translated_answer(answer: Answer, key: str, where: str, /) -> StoreError:
    """Our error for an answer that is not a success."""
    return _by_status(answer.status, answer.code, key, where)


def _by_status(status: int, code: str, key: str, where: str) -> StoreError:
    said = f"{status} {code}".strip()
    about = f"{where}: {key!r}" if key else where
    if code in _FULL_CODES or status == 507:
        return StoreFullError(f"{about}: no space left on the server ({said})", retry_after_s=5.0)
    if code == "NoSuchUpload":  # of a large file, in parts: a server that runs full or restarts drops what it has begun
        return StoreUnavailableError(f"{about}: the server has lost the parts sent so far ({said})", retry_after_s=1.0)
    if status == 404 and code != "NoSuchBucket":
        return ObjectNotFoundError(key, where=where)
    if status == 412 or code == "ConditionalRequestConflict":
        return PreconditionFailedError(f"{about} was changed by somebody else meanwhile; read it again")
    if status == 429 or status >= 500:
        return StoreUnavailableError(f"{about}: the server cannot answer now ({said})", retry_after_s=1.0)
    return StoreDeniedError(f"{about}: {_refusal(status, code)} ({said})")


def _refusal(status: int, code: str) -> str:
    if code == "NoSuchBucket":
        return "the bucket does not exist and could not be made"
    if code in _CREDENTIAL_CODES or status == 401:
        return "the credentials are not accepted; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is too far from the server's; set it right"
    if status == 403:
        return "these credentials may not do that; check the policy"
    return "the server refuses the request"
