"""Fuzzes the HTTP front: `python -m fuzz.http [CORPUS] [-max_total_time=600 …]`.

Needs atheris, whose options it takes (those of libFuzzer). What must hold is in `fuzz.http_checks`.
"""

from __future__ import annotations

import logging

import atheris

with atheris.instrument_imports(include=["botshard.http1"]):
    from fuzz.http_checks import check

from fuzz.running import run
from fuzz.seeds import HTTP_SEEDS

_WORDS = (
    *("GET ", "POST ", "HEAD ", "CONNECT ", "OPTIONS ", "/hot/a", "/a", "/early", "/stream", "/half", "/defect"),
    *(" HTTP/1.1\r\n", " HTTP/1.0\r\n", "\r\n\r\n", "host: x\r\n", "content-length: ", "transfer-encoding: "),
    *("chunked", "connection: ", "close", "keep-alive", "upgrade", "h2c", "expect: 100-continue\r\n", "0\r\n\r\n"),
    *("5\r\n", ";x=y", "+", "0x5", "\x00", "\x0b", "\t", "identity", ", chunked", "content-length: 5\r\n\r\n"),
)


def main() -> None:
    """Until something is found, or the time is over."""
    logging.disable(logging.CRITICAL)
    run(check, HTTP_SEEDS, "http", words=_WORDS)


if __name__ == "__main__":
    main()
