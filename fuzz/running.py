"""Starts atheris on a check, with a corpus that begins with our seeds."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

__all__ = ["run"]

_DEFAULTS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=4096")


def run(check: Callable[[bytes], None], seeds: Sequence[bytes], name: str, *, words: Sequence[str]) -> None:
    """Until something is found, or the time that the options give is over; `words`: what inputs are made of."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    corpus = Path(folders[0] if folders else tempfile.mkdtemp(prefix=f"botshard-fuzz-{name}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number:02}").write_bytes(seed)
    sys.stderr.write(f"corpus: {corpus}\n")
    dictionary = corpus.with_name(corpus.name + ".dict")
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
    prefix = f"-artifact_prefix={corpus}-"
    atheris.Setup([sys.argv[0], *_DEFAULTS, prefix, f"-dict={dictionary}", *options, str(corpus)], check)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    """As libFuzzer reads it: printable, everything else in hexadecimal."""
    return "".join(f"\\x{ord(one):02x}" if one in '"\\' or not one.isprintable() else one for one in word)
