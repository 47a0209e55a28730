"""What only the S3 home does: answers that are lost, credentials, buckets."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.store.base import (
    ObjectStore,
    PreconditionFailedError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)
from botshard.store.urls import open_store
from tests.servers import MinioServer, free_port
from tests.store.proxy import LossyProxy

pytestmark = pytest.mark.minio


@pytest.fixture
def bucket() -> str:
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def lossy(minio: MinioServer, bucket: str) -> Iterator[tuple[LossyProxy, ObjectStore]]:
    """A store behind a proxy that can lose answers."""
    with LossyProxy(minio.port) as proxy:
        store = open_store(f"s3://{bucket}?endpoint={proxy.endpoint}", minio.environ)
        store.put("warm", b"")
        yield proxy, store
        store.close()


def test_a_conditional_write_whose_answer_is_lost_succeeds_once(lossy: tuple[LossyProxy, ObjectStore]) -> None:
    """The write was carried out, its repetition fails the condition, and the caller is told that it was its own."""
    proxy, store = lossy
    proxy.losing = 1
    created = store.put_if("key", b"1", etag=None)
    proxy.losing = 2
    replaced = store.put_if("key", b"2", etag=created)

    assert store.get("key").data == b"2"
    assert store.get("key").etag == replaced


def test_a_conditional_write_that_lost_the_race_is_told_although_an_answer_was_lost(
    lossy: tuple[LossyProxy, ObjectStore],
) -> None:
    """Doubt about one's own write is never taken for success where the object is somebody else's."""
    proxy, store = lossy
    store.put("key", b"other")
    proxy.losing = 1

    with pytest.raises(PreconditionFailedError):
        store.put_if("key", b"mine", etag=None)

    assert store.get("key").data == b"other"


def test_reads_and_writes_are_repeated_where_an_answer_is_lost(lossy: tuple[LossyProxy, ObjectStore]) -> None:
    """One lost answer is no outage; three in a row are."""
    proxy, store = lossy
    etag = store.put("key", b"1")
    proxy.losing = 1
    assert store.get_if_changed("key", etag) is None
    proxy.losing = 2
    assert store.get("key").data == b"1"
    proxy.losing = 1
    assert [entry.key for entry in store.list("")] == ["key", "warm"]
    proxy.losing = 3
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        store.get("key")


def _texts(error: BaseException) -> str:
    return "".join([str(error), repr(error), *traceback.format_exception(error)])


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_denied_and_shown_nowhere(
    minio: MinioServer, bucket: str, wrong: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """StoreDeniedError that says what to check; no log, text, repr or traceback has key, secret or a signature."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    environ = {**minio.environ, wrong: f"wrong{secrets.token_hex(8)}"}
    store = open_store(minio.url(bucket), environ)
    texts = [repr(store), str(store), store.url]
    for use in (
        lambda: store.get("key"),
        lambda: store.get_if_changed("key", "etag"),
        lambda: store.put("key", b""),
        lambda: store.put_if("key", b"", etag=None),
        lambda: list(store.list("")),
        lambda: store.upload("key", file),
        lambda: store.download("key", tmp_path / "down"),
        lambda: store.stat("key"),
        lambda: store.delete("key"),
    ):
        with pytest.raises(StoreDeniedError) as caught:
            use()
        texts.append(_texts(caught.value))

    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in texts[3]
    _assert_no_secret("".join(texts) + caplog.text, environ)
    store.close()


def test_right_credentials_are_shown_nowhere_either(
    minio: MinioServer, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Debug logs of a working store, and errors of one that is away, hold no credential."""
    caplog.set_level(logging.DEBUG)
    store = open_store(minio.url(bucket), minio.environ)
    etag = store.put("key", b"1")
    store.get_if_changed("key", etag)
    list(store.list(""))
    away = open_store(f"s3://{bucket}?endpoint=http://127.0.0.1:{free_port()}", minio.environ)
    texts = [repr(store), repr(away)]
    for use in (lambda: away.get("key"), lambda: list(away.list("")), lambda: store.put_if("key", b"", etag=None)):
        with pytest.raises(StoreError) as caught:
            use()
        texts.append(_texts(caught.value))

    assert "GET /" in caplog.text  # the HTTP library did log what it sent
    _assert_no_secret("".join(texts) + caplog.text, minio.environ)
    store.close()
    away.close()


def _assert_no_secret(text: str, environ: dict[str, str]) -> None:
    for value in environ.values():
        assert value not in text
    assert "Signature=" not in text
    assert "X-Amz-" not in text


def test_mounted_credentials_are_taken_up_when_they_are_rotated(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    """Files with credentials are read again: after a rotation the same store works."""
    key_id, secret = tmp_path / "id", tmp_path / "secret"
    key_id.write_text(minio.access_key + "\n")
    secret.write_text("old")
    environ = {"AWS_ACCESS_KEY_ID_FILE": str(key_id), "AWS_SECRET_ACCESS_KEY_FILE": str(secret)}
    store = open_store(minio.url(bucket), environ)
    with pytest.raises(StoreDeniedError):
        store.get_if_changed("key", None)

    secret.write_text(minio.secret_key + "\n")

    etag = store.put("key", b"1")
    assert store.get_if_changed("key", etag) is None
    secret.unlink()
    with pytest.raises(StoreDeniedError, match="cannot be read"):
        store.put("key", b"2")
    store.close()


def test_the_bucket_is_made_when_it_is_absent(minio: MinioServer, bucket: str) -> None:
    """The first use of a store makes its bucket, be it a listing, a read or a write."""
    for number, use in enumerate(("list", "get", "put_if", "upload")):
        store = open_store(minio.url(f"{bucket}-{number}"), minio.environ)
        match use:
            case "list":
                assert list(store.list("")) == []
            case "get":
                with pytest.raises(StoreError, match="no object"):
                    store.get("key")
            case "put_if":
                assert store.put_if("key", b"1", etag=None)
            case _:
                assert store.upload("key", Path(__file__))
        store.put("key", b"1")
        store.close()


def test_prefixes_of_one_bucket_are_stores_of_their_own(minio: MinioServer, bucket: str) -> None:
    """Neither listing nor reading crosses from one prefix into another."""
    one, two = (open_store(minio.url(bucket, prefix), minio.environ) for prefix in ("one", "one-more"))
    one.put("key", b"1")

    assert list(two.list("")) == []
    two.put("key", b"2")
    assert one.get("key").data == b"1"
    assert [entry.key for entry in one.list("")] == ["key"]
    one.close()
    two.close()
