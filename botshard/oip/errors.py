"""What can be wrong with a body.

```
TerminalError
├── InvalidInputError             the client's request is wrong: nothing was computed (400)
│   └── BodyTooLargeError         it is larger than the server takes (413)
├── UnencodableOutputError        the answer cannot be written in the form that the client asked for (500)
└── InvalidAnswerError            a server's answer is not one of the protocol (client side)
```

The statuses in brackets are what the servers' `problems.py` make of them.
"""

from __future__ import annotations

from botshard.sharding.errors import TerminalError

__all__ = ["BodyTooLargeError", "InvalidAnswerError", "InvalidInputError", "UnencodableOutputError"]


class InvalidInputError(TerminalError):
    """A request is refused. `tensor` names the input (or the requested output); None: the body as a whole."""

    def __init__(self, tensor: str | None, message: str, *, kind: str = "input") -> None:
        super().__init__(message if tensor is None else f"{kind} {tensor!r}: {message}")
        self.tensor = tensor


class BodyTooLargeError(InvalidInputError):
    """A body is larger than `limit_bytes`, as sent or once inflated."""

    def __init__(self, message: str, *, limit_bytes: int) -> None:
        super().__init__(None, message)
        self.limit_bytes = limit_bytes


class UnencodableOutputError(TerminalError):
    """The output named `tensor` has no form in what the client asked for."""

    def __init__(self, tensor: str, message: str) -> None:
        super().__init__(f"output {tensor!r}: {message}")
        self.tensor = tensor


class InvalidAnswerError(TerminalError):
    """What a server answered is not an answer of the protocol."""
