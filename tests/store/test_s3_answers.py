"""Answers that MinIO gives only in bad times, from a server that gives them on demand over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from botshard.store.base import (
    ObjectStore,
    PreconditionFailedError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from botshard.store.urls import open_store

_ENVIRON = {"AWS_ACCESS_KEY_ID": "id-of-key", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_SESSION_TOKEN": "token"}


@dataclass
class Script:
    """What the server answers next, and what it was asked."""

    answers: list[tuple[int, bytes]] = field(default_factory=list)
    """Status and body; the last one is repeated."""
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    short: bool = False
    """Close the connection before the body is complete."""


def fault(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>id-of-key</Message></Error>".encode()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def store(script: Script) -> Iterator[ObjectStore]:
    """A store whose server follows the script."""

    class Scripted(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            script.asked.append(f"{self.command} {self.path}")
            script.tokens.add(self.headers.get("x-amz-security-token"))
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, body = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("ETag", '"etag"')
            self.send_header("Content-Length", str(len(body) + 5 * script.short))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = script.short

        do_GET = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815 - names that the base class looks for

        def log_message(self, *_: object) -> None:
            """Nothing to stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    opened = open_store(f"s3://bucket?endpoint=http://127.0.0.1:{server.server_port}", _ENVIRON)
    yield opened
    opened.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_is_busy_is_asked_again(script: Script, store: ObjectStore) -> None:
    """Two answers of 503 and one of 200 are a success, for every kind of request; the session token goes along."""
    for use in (lambda: store.get("key"), lambda: store.put("key", b"x"), lambda: store.put_if("key", b"x", etag="e")):
        script.answers = [(503, fault("SlowDown")), (503, fault("SlowDown")), (200, b"data")]
        assert use()
    assert len(script.asked) == 9
    assert script.tokens == {"token"}


@pytest.mark.parametrize(
    ("status", "body", "expected", "text", "requests"),
    [
        pytest.param(500, fault("InternalError"), StoreUnavailableError, "500 InternalError", 3, id="server error"),
        pytest.param(503, b"", StoreUnavailableError, "503", 3, id="no body"),
        pytest.param(507, fault("XMinioStorageFull"), StoreFullError, "no space", 1, id="full"),
        pytest.param(500, fault("X") + b"no space left on device", StoreFullError, "no space", 1, id="just now full"),
        pytest.param(403, fault("AccessDenied"), StoreDeniedError, "check the policy", 1, id="policy"),
        pytest.param(403, fault("RequestTimeTooSkewed"), StoreDeniedError, "clock", 1, id="clock"),
        pytest.param(401, fault("Unauthorized"), StoreDeniedError, "AWS_ACCESS_KEY_ID", 1, id="unauthorised"),
        pytest.param(400, fault("MalformedXML"), StoreDeniedError, "refuses the request", 1, id="refused"),
        pytest.param(301, b"", StoreDeniedError, "refuses the request", 1, id="redirect"),
        pytest.param(
            409, fault("ConditionalRequestConflict"), PreconditionFailedError, "read it again", 1, id="conflict"
        ),
    ],
)
def test_each_bad_answer_has_its_error(
    script: Script, store: ObjectStore, status: int, body: bytes, expected: type[StoreError], text: str, requests: int
) -> None:
    """The error says what to do; only what may pass is tried again; the server's own words are not repeated."""
    script.answers = [(status, body)]

    with pytest.raises(expected, match=text) as caught:
        store.put_if("key", b"x", etag="e")

    assert len(script.asked) == requests
    assert "id-of-key" not in str(caught.value)


def test_a_body_that_ends_early_is_never_an_object(script: Script, store: ObjectStore, tmp_path: Path) -> None:
    """A cut connection is an outage for `get` and `download`, and no file is left."""
    script.answers, script.short = [(200, b"half")], True
    uses: list[Callable[[], object]] = [lambda: store.get("key"), lambda: store.download("key", tmp_path / "file")]
    for use in uses:
        with pytest.raises(StoreUnavailableError):
            use()

    assert list(tmp_path.iterdir()) == []
    assert len(script.asked) == 6


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", [b"<html>hello</html>", b"not even that", b"\xff\xfe"], ids=["html", "text", "bytes"])
def test_a_server_that_does_not_speak_s3_is_told_from_one_that_is_empty(
    script: Script, store: ObjectStore, body: bytes, status: int
) -> None:
    """A listing from a wrong endpoint is an error, not an empty listing."""
    script.answers = [(status, body)]

    with pytest.raises(StoreError):
        list(store.list(""))


def test_a_bucket_that_may_not_be_made_is_told(script: Script, store: ObjectStore, tmp_path: Path) -> None:
    """Neither its absence nor the refusal to make it is taken for an empty store."""
    uses: list[Callable[[], object]] = [
        lambda: store.get("key"),
        lambda: list(store.list("")),
        lambda: store.upload("key", Path(__file__)),
    ]
    for use in uses:
        script.answers = [(404, fault("NoSuchBucket")), (403, fault("AccessDenied"))]
        with pytest.raises(StoreDeniedError, match="AccessDenied"):
            use()


def test_a_bucket_that_somebody_else_makes_meanwhile_is_used(script: Script, store: ObjectStore) -> None:
    """Two processes that start together both go on."""
    script.answers = [(404, fault("NoSuchBucket")), (409, fault("BucketAlreadyOwnedByYou")), (200, b"data")]

    assert store.get("key").data == b"data"


def test_parts_that_the_server_has_lost_are_sent_again(script: Script, store: ObjectStore) -> None:
    """A server that runs full drops an upload that it has begun: nobody is told that an object does not exist."""
    script.answers = [(404, fault("NoSuchUpload")), (507, fault("XMinioStorageFull"))]

    with pytest.raises(StoreFullError, match="no space left"):
        store.upload("key", Path(__file__))
    assert len(script.asked) > 1
