"""From a URL and an environment to a store, or to everything that is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from botshard.sharding.errors import InvalidDocumentError
from botshard.store.urls import open_store

_ENVIRON = {"AWS_ACCESS_KEY_ID": "id-of-key", "AWS_SECRET_ACCESS_KEY": "very-secret"}


def test_a_folder_is_opened_by_its_absolute_path(tmp_path: Path) -> None:
    """The URL of the store is the one it was opened by, escapes resolved."""
    assert open_store(f"file://{tmp_path}/a", {}).url == f"file://{tmp_path}/a"
    open_store(f"file://{tmp_path}/with%20space", {}).put("key", b"1")
    assert (tmp_path / "with space" / "key").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        pytest.param(
            "s3://bucket/a/b?endpoint=http://127.0.0.1:9000&region=eu-west-1",
            {},
            "s3://bucket/a/b?endpoint=http://127.0.0.1:9000&region=eu-west-1",
            id="all in the URL",
        ),
        pytest.param(
            "s3://bucket",
            {"AWS_ENDPOINT_URL": "http://minio:9000/", "AWS_DEFAULT_REGION": "eu-west-1"},
            "s3://bucket?endpoint=http://minio:9000&region=eu-west-1",
            id="from the environment",
        ),
        pytest.param(
            "s3://bucket/", {}, "s3://bucket?endpoint=https://s3.amazonaws.com&region=us-east-1", id="defaults"
        ),
    ],
)
def test_an_s3_store_is_opened_without_a_request(url: str, environ: dict[str, str], expected: str) -> None:
    """Endpoint and region come from the URL, else from the environment, else are those of AWS."""
    store = open_store(url, {**_ENVIRON, **environ})

    assert store.url == expected
    assert open_store(store.url, _ENVIRON).url == store.url
    store.close()


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        pytest.param("/some/folder", [""], id="no scheme"),
        pytest.param("file://host/some/folder", [""], id="a host before a folder"),
        pytest.param("file:relative", [""], id="a relative folder"),
        pytest.param(
            "s3://B/x y?endpoint=ftp://h&region=EU!", ["bucket", "prefix", "endpoint", "region"], id="all wrong"
        ),
        pytest.param("s3://bucket/../x", ["prefix"], id="a prefix that climbs"),
        pytest.param("s3://bucket?endpoint=http://host/path", ["endpoint"], id="an endpoint with a path"),
        pytest.param("s3://bucket?endpoint=http://host:port", ["endpoint"], id="a port that is none"),
        pytest.param("s3://bucket?secret=very-secret", ["secret"], id="an unknown option"),
        pytest.param("s3://id-of-key:very-secret@bucket", [""], id="credentials in the URL"),
        pytest.param("s3://bucket?endpoint=http://id-of-key:very-secret@host", ["endpoint"], id="in the endpoint"),
        pytest.param("http://id-of-key:very-secret@host/bucket", [""], id="another scheme with credentials"),
    ],
)
def test_a_wrong_url_is_refused_with_every_field_and_no_secret(url: str, fields: list[str]) -> None:
    """All problems come at once, and what may be a credential is not repeated."""
    with pytest.raises(InvalidDocumentError) as caught:
        open_store(url, _ENVIRON)

    assert [problem.field for problem in caught.value.problems] == fields
    assert "secret" not in str(caught.value).replace("secret: must be", "")
    assert "id-of-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "fields"),
    [
        pytest.param({}, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], id="none"),
        pytest.param({"AWS_ACCESS_KEY_ID": "id"}, ["AWS_SECRET_ACCESS_KEY"], id="half"),
        pytest.param(
            {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY_FILE": "/secret"},
            ["AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"],
            id="one as a file",
        ),
    ],
)
def test_missing_credentials_are_named(environ: dict[str, str], fields: list[str]) -> None:
    """The error names the variables to set."""
    with pytest.raises(InvalidDocumentError) as caught:
        open_store("s3://bucket", environ)

    assert [problem.field for problem in caught.value.problems] == fields
