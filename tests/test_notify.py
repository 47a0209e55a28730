"""What a process says of itself to whoever started it arrives as it was said, or is dropped without harm."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.notify import Notice, Notifier, parse_notice


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """An address and the socket that listens there."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@botshard-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1))
        listener.settimeout(5)
        yield address, listener


def test_every_word_arrives_with_the_pid(heard: tuple[str, socket.socket]) -> None:
    """In order, one datagram each; each tells again whether the process serves, since the one before may be lost."""
    address, listener = heard
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.load(in_flight=0, requests=0)
    notifier.ready()
    notifier.load(in_flight=3, requests=40)
    notifier.status("warm\nand well")
    notifier.stopping()
    notifier.close()
    notifier.ready()  # said after the end, to nobody
    pid = os.getpid()
    assert [parse_notice(listener.recv(4096)) for _ in range(5)] == [
        Notice(pid, in_flight=0, requests=0),
        Notice(pid, ready=True),
        Notice(pid, ready=True, in_flight=3, requests=40),
        Notice(pid, ready=True, status="warm and well"),
        Notice(pid, ready=False),
    ]
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(4096)


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nothing/listens/here"}])
def test_where_nobody_listens_nothing_happens(environ: dict[str, str]) -> None:
    """No error, no wait."""
    notifier = Notifier(environ)
    notifier.ready()
    notifier.load(in_flight=0, requests=0)
    notifier.close()
    notifier.close()


def test_a_listener_that_does_not_read_holds_nobody_up(heard: tuple[str, socket.socket]) -> None:
    """Datagrams over what the kernel keeps are dropped."""
    address, _ = heard
    notifier = Notifier({"NOTIFY_SOCKET": address})
    for number in range(10_000):
        notifier.load(in_flight=0, requests=number)
    notifier.close()


@pytest.mark.parametrize(
    "datagram",
    [b"", b"READY=1", b"MAINPID=me\nREADY=1", b"MAINPID=1\nX_BOTSHARD_IN_FLIGHT=many", b"\xff\xfe", b"MAINPID"],
)
def test_what_is_not_ours_is_nothing(datagram: bytes) -> None:
    """Without a pid, or with a number that is none."""
    assert parse_notice(datagram) is None


@pytest.mark.parametrize(
    ("datagram", "notice"),
    [
        (b"MAINPID=7\nREADY=1\n", Notice(7, ready=True)),
        (b"MAINPID=7\nREADY=0", Notice(7)),
        (b"WATCHDOG=1\nMAINPID=7\nSTATUS=a=b", Notice(7, status="a=b")),
    ],
)
def test_systemds_own_form_is_read(datagram: bytes, notice: Notice) -> None:
    """Unknown fields and a line feed at the end are no harm."""
    assert parse_notice(datagram) == notice


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_status_says_nothing_else(text: str) -> None:
    """Whatever separators it holds, no other field comes out of it."""
    datagram = "MAINPID=7\nSTATUS=" + text.replace("\n", " ") + "READY=1"
    notice = parse_notice(datagram.encode())
    assert notice is not None
    assert (notice.pid, notice.ready, notice.in_flight) == (7, None, None)
