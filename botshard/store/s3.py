"""A bucket, or a part of one, as an object store: MinIO, S3 and what speaks like them.

The `minio` package builds URLs, signs, lists and uploads. It has no conditional write, so single-object requests
are sent here: `If-None-Match: *` creates, `If-Match` replaces, `If-None-Match: <etag>` polls. The etag is the MD5 of
the content: what is compared must hold something that never returns (a revision, an epoch).

A conditional write whose answer is lost may have been carried out. It is sent again; if the condition then fails
and the object holds exactly our bytes, it was ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Unpack
from urllib.parse import urlencode, urlsplit

import certifi
from urllib3 import PoolManager, Timeout

from botshard.store.atomic import whole_file
from botshard.store.base import (
    Blob,
    Entry,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreUnavailableError,
    check_key,
    check_prefix,
)
from botshard.store.minio_client import Minio, Provider, S3Error
from botshard.store.s3_requests import (
    CLIENT_ERRORS,
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    Answer,
    S3Requests,
    SendOptions,
    attempts,
    translated,
    translated_answer,
)

__all__ = ["S3Store"]

_CONNECTIONS = 32
_POLL_ATTEMPTS = 2  # one for a connection that the server had closed; the next poll comes soon anyway
_POLL_TIMEOUT_S = 5.0
_SUCCESSES = frozenset({200, 204, 304})


class S3Store:
    """An `ObjectStore` in a bucket, which is made at the first use if it is absent and the credentials allow it."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        /,
        *,
        endpoint: str,
        region: str,
        credentials: Provider,
        ca_file: str | None = None,
    ) -> None:
        """Nothing is sent yet. `endpoint` is `http[s]://host[:port]`, `prefix` is empty or has no slash at its ends."""
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        address = f"s3://{bucket}/{prefix}".rstrip("/")
        self._url = f"{address}?{urlencode({'endpoint': endpoint, 'region': region}, safe=':/')}"
        parts = urlsplit(endpoint)
        self._pools = PoolManager(
            maxsize=_CONNECTIONS,
            timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            retries=False,
            ca_certs=ca_file or certifi.where(),
            cert_reqs="CERT_REQUIRED",
        )
        self._client = Minio(
            parts.netloc,
            secure=parts.scheme == "https",
            region=region,
            credentials=credentials,
            http_client=self._pools,
        )
        # Without credentials a "presigned" URL is the plain one: path style or bucket in the host name, as it must be.
        # It gets a pool of its own, since the client closes its pools when it goes.
        anonymous = Minio(parts.netloc, secure=parts.scheme == "https", region=region, http_client=PoolManager())
        plain: str = anonymous.get_presigned_url("GET", bucket, self._prefix + "x")
        base_url = urlsplit(plain)._replace(query="").geturl().removesuffix("x")
        self._requests = S3Requests(
            self._pools.connection_from_url(base_url),
            base_url,
            region=region,
            credentials=credentials,
            where=self._url,
        )

    def __repr__(self) -> str:
        return f"S3Store({self._url})"

    @property
    def url(self) -> str:
        """The store's URL without credentials."""
        return self._url

    def get(self, key: str, /) -> Blob:
        """See `ObjectStore`."""
        answer = self._ask("GET", key)
        return Blob(answer.data, answer.etag)

    def get_if_changed(self, key: str, /, etag: str | None) -> Blob | None:
        """See `ObjectStore`. One request on an open connection, without a body where nothing changed."""
        headers = {"If-None-Match": f'"{etag}"'} if etag else {}
        answer = self._ask("GET", key, headers=headers, limit=_POLL_ATTEMPTS, read_timeout_s=_POLL_TIMEOUT_S)
        return None if answer.status == 304 else Blob(answer.data, answer.etag)

    def stat(self, key: str, /) -> Entry:
        """See `ObjectStore`."""
        answer = self._ask("HEAD", key)
        return Entry(key, answer.etag, int(answer.headers.get("Content-Length", "0")))

    def put(self, key: str, data: bytes, /) -> str:
        """See `ObjectStore`."""
        return self._ask("PUT", key, body=data).etag

    def put_if(self, key: str, data: bytes, /, *, etag: str | None) -> str:
        """See `ObjectStore`."""
        condition = {"If-None-Match": "*"} if etag is None else {"If-Match": f'"{etag}"'}
        answer = self._answer("PUT", key, body=data, headers=condition)
        if answer.status == 200:
            return answer.etag
        error = translated_answer(answer, key, self._url)
        if isinstance(error, ObjectNotFoundError):  # what was to be replaced has been deleted
            error = PreconditionFailedError(f"{self._url}: {key!r} was to replace etag {etag}, found no object")
        if isinstance(error, PreconditionFailedError) and answer.doubtful:
            written = self.get(key)
            if written.data == data:
                return written.etag
        raise error

    def list(self, prefix: str, /) -> Iterator[Entry]:
        """See `ObjectStore`."""
        start = self._prefix + check_prefix(prefix)
        last_seen: str | None = None
        for last in attempts():
            try:
                for item in self._client.list_objects(self._bucket, start, recursive=True, start_after=last_seen):
                    last_seen = item.object_name
                    yield Entry(item.object_name.removeprefix(self._prefix), item.etag.strip('"'), item.size)
                return
            except CLIENT_ERRORS as error:
                if _is_missing_bucket(error):
                    self._make_bucket()
                    continue
                ours = translated(error, prefix, self._url)
                if last or not isinstance(ours, StoreUnavailableError):
                    raise ours from error

    def delete(self, key: str, /) -> None:
        """See `ObjectStore`."""
        with suppress(ObjectNotFoundError):
            self._ask("DELETE", key)

    def download(self, key: str, path: Path, /) -> None:
        """See `ObjectStore`."""
        with whole_file(path) as file:
            self._ask("GET", key, into=file)

    def upload(self, key: str, path: Path, /) -> str:
        """See `ObjectStore`."""
        name = self._prefix + check_key(key)
        for last in attempts():
            try:
                result = self._client.fput_object(self._bucket, name, str(path))
                etag: str = result.etag
                return etag.strip('"')
            except CLIENT_ERRORS as error:
                if _is_missing_bucket(error):
                    self._make_bucket()
                    continue
                ours = translated(error, key, self._url)
                if last or not isinstance(ours, StoreUnavailableError):
                    raise ours from error
        raise StoreUnavailableError(f"{self._url}: the bucket disappears as soon as it is made")

    def close(self) -> None:
        """See `ObjectStore`."""
        self._pools.clear()

    def _ask(self, method: str, key: str, /, **options: Unpack[SendOptions]) -> Answer:
        """The answer to a request where it is a success, else the error for it."""
        answer = self._answer(method, key, **options)
        if answer.status in _SUCCESSES:
            return answer
        raise translated_answer(answer, key, self._url)

    def _answer(self, method: str, key: str, /, **options: Unpack[SendOptions]) -> Answer:
        answer = self._requests.send(method, check_key(key), **options)
        if answer.code == "NoSuchBucket":
            self._make_bucket()
            answer = self._requests.send(method, key, **options)
        return answer

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except CLIENT_ERRORS as error:
            if isinstance(error, S3Error) and error.code in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                return  # somebody else was faster
            raise translated(error, "", self._url) from error


def _is_missing_bucket(error: Exception) -> bool:
    return isinstance(error, S3Error) and error.code == "NoSuchBucket"
