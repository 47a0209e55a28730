"""What keeper and zygote say to each other arrives whole, descriptors in order."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from botshard.local import zygote_wire as wire

_REQUEST = wire.ForkRequest("pool/r1", {"RUNTIME_POOL": "pool", "TEXT": "ü\n"}, ("FIRST_FD", "SECOND_FD"))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a channel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    "message",
    [_REQUEST, wire.ZygoteReady("torch", 3.25), wire.Forked("pool/r1", 4711), wire.ZygoteExit(4711, -9)],
    ids=lambda message: type(message).__name__,
)
def test_messages_arrive_as_they_were_sent(
    pair: tuple[socket.socket, socket.socket],
    message: wire.ForkRequest | wire.ZygoteReady | wire.Forked | wire.ZygoteExit,
) -> None:
    """Each kind."""
    ours, theirs = pair
    wire.send(ours, message)
    assert wire.receive(theirs) == (message, ())


def test_descriptors_arrive_in_order_and_close_on_exec(pair: tuple[socket.socket, socket.socket]) -> None:
    """The first named is the first received; a program that the receiver starts inherits none of them."""
    ours, theirs = pair
    pipes = [os.pipe(), os.pipe()]
    wire.send(ours, _REQUEST, fds=tuple(writer for _, writer in pipes))
    for _, writer in pipes:
        os.close(writer)
    received = wire.receive(theirs)
    assert received is not None
    for index, fd in enumerate(received[1]):
        assert not os.get_inheritable(fd)
        os.write(fd, b"%d" % index)
        os.close(fd)
    assert [os.read(reader, 9) for reader, _ in pipes] == [b"0", b"1"]
    assert [os.read(reader, 9) for reader, _ in pipes] == [b"", b""]
    for reader, _ in pipes:
        os.close(reader)


@pytest.mark.parametrize("unread", [False, True], ids=["closed", "closed with our words unread"])
def test_a_dead_peer_is_none(pair: tuple[socket.socket, socket.socket], *, unread: bool) -> None:
    """After its last words; sending is an error."""
    ours, theirs = pair
    if unread:
        wire.send(theirs, _REQUEST)
    else:
        wire.send(ours, wire.ZygoteExit(1, 0))
    ours.close()
    if not unread:
        assert wire.receive(theirs) == (wire.ZygoteExit(1, 0), ())
    assert wire.receive(theirs) is None
    with pytest.raises(OSError, match="Broken pipe"):
        wire.send(theirs, wire.Forked("t", 1))
