"""What a head may not say although llhttp takes it, and heads without an upgrade that is not offered."""

from __future__ import annotations

from typing import Final

__all__ = ["problem_of_head", "without_upgrade"]

_OF_AN_UPGRADE: Final = frozenset({b"upgrade", b"http2-settings"})


def problem_of_head(
    version: str, headers: list[tuple[bytes, bytes]], fields: dict[bytes, bytes], max_body_bytes: int, /
) -> tuple[int, str] | None:
    """Status and text of what is wrong with a head; None: nothing.

    llhttp has refused conflicting, repeated and odd lengths, folded headers and bare line feeds already.
    """
    if version not in {"1.1", "1.0"}:
        return 505, f"HTTP/{version} is not offered; use HTTP/1.1"
    if b"host" not in fields and version == "1.1":
        return 400, "HTTP/1.1 needs a Host"
    if len(fields) != len(headers) and _count(headers, b"host") > 1:
        return 400, "more than one Host"
    if b"transfer-encoding" in fields:
        return _problem_of_coding(version, headers, fields[b"transfer-encoding"])
    length = fields.get(b"content-length")
    if length is not None and int(length) > max_body_bytes:
        return 413, f"the body is larger than {max_body_bytes} bytes"
    return None


def _problem_of_coding(version: str, headers: list[tuple[bytes, bytes]], coding: bytes) -> tuple[int, str] | None:
    if version == "1.0":
        return 400, "HTTP/1.0 has no Transfer-Encoding"
    if coding.lower() != b"chunked" or _count(headers, b"transfer-encoding") > 1:
        return 501, "the only Transfer-Encoding that is offered is chunked"
    return None


def _count(headers: list[tuple[bytes, bytes]], name: bytes) -> int:
    return sum(other == name for other, _ in headers)


def without_upgrade(method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]], /) -> bytes | None:
    """The head as it would be without its `Upgrade`; None: there is no such request (`CONNECT`)."""
    if method == b"CONNECT":
        return None
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"upgrade":
            continue
        if name == b"connection":
            tokens = [token for token in value.split(b",") if token.strip().lower() not in _OF_AN_UPGRADE]
            lines += [b"connection: " + b",".join(tokens)] if tokens else []
        else:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
