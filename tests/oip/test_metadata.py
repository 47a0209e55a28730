"""What a server says about itself validates against the protocol's description."""

from __future__ import annotations

from botshard.oip import headers
from botshard.oip.metadata import IndexEntry, model_metadata, repository_index, server_metadata
from botshard.sharding.catalog import TensorSpec
from tests.oip.schema import assert_valid

_SPECS = (TensorSpec("text", "BYTES", (-1, 1)),)


def test_server_metadata_is_valid() -> None:
    """Name, version and extensions are there."""
    document = server_metadata(name="botshard", version="1")
    assert_valid(document, "metadata_server_response")
    assert "model_repository_extension" in document["extensions"]  # type: ignore[operator]


def test_model_metadata_is_valid_with_and_without_versions() -> None:
    """Unknown versions are left out, never null."""
    for versions in ((), ("1", "2")):
        document = model_metadata(name="b", platform="torch", inputs=_SPECS, outputs=_SPECS, versions=versions)
        assert_valid(document, "metadata_model_response")
        assert ("versions" in document) == bool(versions)


def test_the_index_lists_all_or_only_the_ready() -> None:
    """`ready` narrows the index to what is ready."""
    entries = [IndexEntry("a", "1", "READY"), IndexEntry("b", "2", "UNAVAILABLE", "no such file")]
    assert [entry["name"] for entry in repository_index(entries)] == ["a", "b"]
    assert repository_index(entries)[1] == {
        "name": "b",
        "version": "2",
        "state": "UNAVAILABLE",
        "reason": "no such file",
    }
    assert [entry["name"] for entry in repository_index(entries, ready_only=True)] == ["a"]


def test_header_names_are_lower_case() -> None:
    """ASGI compares header names in lower case."""
    for name in headers.__all__:
        value = getattr(headers, name)
        assert value == value.lower()
