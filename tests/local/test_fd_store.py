"""File descriptors handed from one process to another really arrive, and nothing else stays open."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from botshard.local import fd_store


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a channel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    "message",
    [fd_store.Stored("pool/ü"), fd_store.StoredAll(), fd_store.Dropped("router"), fd_store.Bye(3)],
    ids=lambda message: type(message).__name__,
)
def test_messages_arrive_as_they_were_sent(
    pair: tuple[socket.socket, socket.socket], message: fd_store.Message
) -> None:
    """Each kind, in order."""
    ours, theirs = pair
    fd_store.send(ours, message)
    fd_store.send(ours, fd_store.StoredAll())
    assert fd_store.receive(theirs) == (message, None)
    assert fd_store.receive(theirs) == (fd_store.StoredAll(), None)


def test_a_listening_socket_goes_on_listening_where_it_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    """The sender may close its own; no child inherits the received one by accident."""
    ours, theirs = pair
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    fd_store.send(ours, fd_store.Stored("router"), listener.fileno())
    listener.close()
    received = fd_store.receive(theirs)
    assert received is not None
    message, fd = received
    assert message == fd_store.Stored("router")
    assert fd is not None
    assert not os.get_inheritable(fd)
    with socket.socket(fileno=fd) as arrived, socket.create_connection(address) as client:
        accepted, _ = arrived.accept()
        with accepted:
            assert accepted.getpeername() == client.getsockname()


def test_a_descriptor_that_nobody_asked_for_is_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    """Only `Stored` carries one; the pipe's reader sees the end as soon as the sender has closed its own."""
    ours, theirs = pair
    reader, writer = os.pipe()
    fd_store.send(ours, fd_store.Dropped("x"), writer)
    os.close(writer)
    assert fd_store.receive(theirs) == (fd_store.Dropped("x"), None)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_the_death_of_the_other_end_is_seen_after_its_last_words(pair: tuple[socket.socket, socket.socket]) -> None:
    """What it has said before is not lost; then None, each time; sending is an error."""
    ours, theirs = pair
    fd_store.send(ours, fd_store.Bye(0))
    ours.close()
    assert fd_store.receive(theirs) == (fd_store.Bye(0), None)
    assert fd_store.receive(theirs) is None
    assert fd_store.receive(theirs) is None
    with pytest.raises(OSError, match="Broken pipe"):
        fd_store.send(theirs, fd_store.StoredAll())


def test_an_end_that_dies_with_our_words_unread_is_dead_too(pair: tuple[socket.socket, socket.socket]) -> None:
    """The kernel calls that a reset connection."""
    ours, theirs = pair
    fd_store.send(theirs, fd_store.Dropped("unread"))
    ours.close()
    assert fd_store.receive(theirs) is None


def test_nothing_to_read_is_told_apart_from_death(pair: tuple[socket.socket, socket.socket]) -> None:
    """On a channel that does not block."""
    _, theirs = pair
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        fd_store.receive(theirs)
