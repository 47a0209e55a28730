"""Settings of a replica."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from botshard.sharding.errors import InvalidDocumentError
from kserve_runtimes.settings import VARIABLES, Settings, read_settings

LEAST = {
    "RUNTIME_POOL": "realtime-torch-0a1b2c3d-4e5f60",
    "RUNTIME_FRAMEWORK": "torch",
    "RUNTIME_STORE_URL": "file:///srv/botshard",
    "RUNTIME_CACHE_DIR": "/var/cache/botshard",
}


def test_every_default_is_as_documented() -> None:
    """A replica with the least possible settings has exactly these."""
    assert read_settings(LEAST) == Settings(
        pool=read_settings(LEAST).pool,
        replica=socket.gethostname(),
        framework=read_settings(LEAST).framework,
        store_url="file:///srv/botshard",
        cache_dir=Path("/var/cache/botshard"),
        listen_fd=None,
        http_port=8080,
        grpc_port=0,
        poll_interval_s=0.5,
        report_interval_s=5.0,
        pool_memory_bytes=None,
        overcommit=1.0,
        bot_idle_after_s=None,
        cache_bytes=None,
        advertise_url=None,
        share_artifacts=True,
        loaders=2,
        ready_share=1.0,
        max_body_bytes=16 << 20,
        threads=1,
        device="auto",
        encoding_cache_bytes=0,
        sdk="quiet",
        model_classes=frozenset(),
        bot_queue=256,
        queue=1024,
        server_timing=True,
        top_bots=20,
        request_timeout_s=None,
        grace_s=25.0,
        log_format="text",
        log_level="INFO",
        lifeline_fd=None,
    )


def test_more_threads_let_more_requests_wait() -> None:
    """Unless it is said how many."""
    four = {**LEAST, "RUNTIME_THREADS": "4"}
    assert (read_settings(four).bot_queue, read_settings(four).queue) == (1024, 4096)
    assert read_settings({**four, "RUNTIME_BOT_QUEUE": "7"}).bot_queue == 7


def test_a_bucket_is_polled_once_a_second() -> None:
    """Requests to a bucket cost more than a stat of a folder."""
    assert read_settings({**LEAST, "RUNTIME_STORE_URL": "s3://bucket/prefix"}).poll_interval_s == 1.0


def test_classes_are_named_with_commas_between() -> None:
    """As `module:Class`; spaces and a comma too many say nothing."""
    settings = read_settings({**LEAST, "RUNTIME_MODEL_CLASSES": "a.b:C, d:E,"})
    assert settings.model_classes == {"a.b:C", "d:E"}


def test_all_problems_are_told_together() -> None:
    """Nobody fixes settings one error at a time."""
    wrong = {
        "RUNTIME_POOL": "Bad Pool",
        "RUNTIME_FRAMEWORK": "jax",
        "RUNTIME_CACHE_DIR": "relative",
        "RUNTIME_HTTP_PORT": "70000",
        "RUNTIME_POOL_MEMORY": "lots",
        "RUNTIME_POLL_INTERVAL_S": "0",
        "RUNTIME_OVERCOMMIT": "0.5",
        "RUNTIME_BOT_IDLE_S": "never",
        "RUNTIME_CACHE_BYTES": "some",
        "RUNTIME_ADVERTISE_URL": "http://user@10.0.0.1:8080/path",
        "RUNTIME_SHARE_ARTIFACTS": "maybe",
        "RUNTIME_LOADERS": "two",
        "RUNTIME_READY_SHARE": "1.5",
        "RUNTIME_MODEL_CLASSES": "my_package.models.Sentiment",
        "RUNTIME_LOG_LEVEL": "LOUD",
        "RUNTIME_DEVICE": "tpu",
        "RUNTIME_ENCODING_CACHE": "much",
        "RUNTIME_REPLICA": "a/b",
    }
    with pytest.raises(InvalidDocumentError) as caught:
        read_settings(wrong)
    assert {problem.field for problem in caught.value.problems} == {*wrong, "RUNTIME_STORE_URL"}


@pytest.mark.parametrize("name", [name for name in VARIABLES if name.startswith("RUNTIME_")])
def test_each_variable_is_documented(name: str) -> None:
    """The page on the runtime has every variable."""
    page = Path(__file__).parents[2] / "docs" / "runtime.md"
    assert f"`{name}`" in page.read_text(encoding="utf-8")
