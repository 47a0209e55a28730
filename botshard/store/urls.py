"""From a store's URL to the store.

`file:///absolute/folder`, or `s3://bucket[/prefix][?endpoint=http://host:9000&region=us-east-1]`. Credentials are never
part of the URL: URLs end up in logs and process lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.store.base import ObjectStore

__all__ = ["open_store"]

_DOCUMENT = "store URL"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_S3_PREFIX = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*\Z")
_REGION = re.compile(r"[a-z0-9-]{1,40}\Z")
_DEFAULT_REGION = "us-east-1"
_AWS_ENDPOINT = "https://s3.amazonaws.com"


def open_store(url: str, environ: Mapping[str, str], /, *, make: bool = True) -> ObjectStore:
    """The store at `url`; what it needs besides (`AWS_...`, see `docs/store.md`) comes from `environ`.

    For S3 nothing is sent yet: a server that is away shows in the first call. A folder that is not there is made, or
    with `make=False` is a store that is away: what a program that serves needs, since an empty store in place of a
    disk that is not mounted would tell it that there are no bots.

    Raises: InvalidDocumentError with everything wrong with URL and environment; for a folder also StoreError.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        expected = "file:///absolute/folder or s3://bucket/prefix"
        raise InvalidDocumentError(_DOCUMENT, [Problem("", "what is no URL (not shown)", expected)]) from error
    match parts.scheme:
        case "file":
            return _open_files(parts, make=make)
        case "s3":
            return _open_s3(parts, environ)
        case _:
            # The URL is not repeated: with a wrong scheme it may be anything, credentials included.
            found = Problem.of("", f"{parts.scheme}:…", "file:///absolute/folder or s3://bucket/prefix")
            raise InvalidDocumentError(_DOCUMENT, [found])


def _open_files(parts: SplitResult, *, make: bool) -> ObjectStore:
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or parts.query or parts.fragment:
        raise InvalidDocumentError(_DOCUMENT, [Problem.of("", "file:…", "file:///absolute/folder and nothing more")])
    from botshard.store.files import FileStore

    return FileStore(Path(path), make=make)


def _open_s3(parts: SplitResult, environ: Mapping[str, str]) -> ObjectStore:
    problems: list[Problem] = []
    if "@" in parts.netloc:
        expected = "without a user or password; give credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise InvalidDocumentError(_DOCUMENT, [Problem("", "credentials before '@' (not shown)", expected)])
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if not _BUCKET.match(bucket):
        problems.append(Problem.of("bucket", bucket, "3 to 63 lower case letters, digits, '.' or '-'"))
    if prefix and (not _S3_PREFIX.match(prefix) or {".", ".."} & set(prefix.split("/"))):
        problems.append(Problem.of("prefix", prefix, "letters, digits, '.', '_', '-' between slashes"))
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - {"endpoint", "region"})
    problems += [Problem(name, "an option (value not shown)", "endpoint or region") for name in unknown]
    endpoint = options.get("endpoint") or environ.get("AWS_ENDPOINT_URL") or _AWS_ENDPOINT
    problems += _check_endpoint(endpoint)
    region = options.get("region") or environ.get("AWS_DEFAULT_REGION") or _DEFAULT_REGION
    if not _REGION.match(region):
        problems.append(Problem.of("region", region, "a region such as us-east-1"))

    from botshard.store.credentials import read_credentials

    credentials = read_credentials(environ, problems)
    if problems or credentials is None:
        raise InvalidDocumentError(_DOCUMENT, problems)
    from botshard.store.s3 import S3Store

    return S3Store(
        bucket,
        prefix,
        endpoint=endpoint.rstrip("/"),
        region=region,
        credentials=credentials,
        ca_file=environ.get("AWS_CA_BUNDLE") or None,
    )


def _check_endpoint(endpoint: str) -> list[Problem]:
    parts = urlsplit(endpoint)
    try:
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if "@" in parts.netloc:
        return [Problem("endpoint", "credentials before '@' (not shown)", "without a user or password")]
    if parts.scheme in ("http", "https") and usable and parts.path in ("", "/") and not parts.query + parts.fragment:
        return []
    return [Problem.of("endpoint", endpoint, "http://host[:port] or https://host[:port]")]
