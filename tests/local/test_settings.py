"""What front and keeper tell each other of a stack, and where things are in its folder."""

from __future__ import annotations

import socket
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from botshard.local.settings import StackFolder, StackSettings
from botshard.notify import Notifier, parse_notice

_PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=20).map(
    lambda name: Path("/srv") / name
)


@given(
    st.builds(
        StackSettings,
        folder=_PATHS.map(StackFolder),
        store_url=st.sampled_from(["file:///srv/store", "s3://bots/prod?endpoint=http://127.0.0.1:9000"]),
        group_files=st.lists(_PATHS, max_size=3).map(tuple),
        host=st.sampled_from(["127.0.0.1", "::1"]),
        port=st.integers(0, 65535),
        router_workers=st.none() | st.integers(1, 64),
        cache_bytes=st.none() | st.integers(1, 2**50),
        log_format=st.sampled_from(["text", "json"]),
        log_level=st.sampled_from(["DEBUG", "INFO"]),
        drain_s=st.floats(0, 1e6),
    )
)
def test_settings_come_back_from_the_environment(settings: StackSettings) -> None:
    """Every field, also paths with odd characters."""
    assert StackSettings.from_json(settings.to_json()) == settings


def test_everything_lies_below_the_folder() -> None:
    """And what exists only while the stack runs lies below `run`."""
    folder = StackFolder(Path("/srv/bots"))
    outlives = (folder.store, folder.cache, folder.ports, folder.lock)
    assert all(path.parent == folder.path for path in outlives)
    assert all(path.is_relative_to(folder.run) for path in (folder.home, folder.processes, folder.stack))
    assert folder.notify_address == "/srv/bots/run/notify"


def test_a_path_too_long_for_a_socket_gets_an_abstract_address(tmp_path: Path) -> None:
    """One for each folder, the same each time, short enough, and it works."""
    deep = tmp_path.joinpath(*["a-rather-long-name"] * 8)
    address, other = StackFolder(deep / "one").notify_address, StackFolder(deep / "two").notify_address
    assert address.startswith("@botshard-")
    assert address != other
    assert address == StackFolder(deep / "one").notify_address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as keeper:
        keeper.bind(address.replace("@", "\0", 1))
        keeper.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": address})
        notifier.ready()
        notice = parse_notice(keeper.recv(4096))
        notifier.close()
    assert notice is not None
    assert notice.ready


def test_the_longest_path_is_measured_in_bytes() -> None:
    """Characters of several bytes count as that many."""
    assert StackFolder(Path("/" + "ü" * 60)).notify_address.startswith("@")
    assert StackFolder(Path("/" + "u" * 60)).notify_address.startswith("/u")
