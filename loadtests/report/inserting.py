"""Tables in pages of documentation, between two comments that name them, so that a command writes them anew."""

from __future__ import annotations

from pathlib import Path

from loadtests.errors import LoadTestError

__all__ = ["insert"]


def insert(page: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- NAME: begin … -->` and `<!-- NAME: end -->`. Raises: LoadTestError without them."""
    try:
        before = page.read_text("utf-8")
    except OSError as error:
        raise LoadTestError(f"{page} cannot be read: {error}") from error
    begin, end = before.find(f"<!-- {name}: begin"), before.find(f"<!-- {name}: end -->")
    if not 0 <= begin < end:
        raise LoadTestError(f"{page} has no `<!-- {name}: begin -->` with a `<!-- {name}: end -->` after it")
    begin = before.index("-->", begin) + len("-->")
    page.write_text(f"{before[:begin]}\n\n{text.strip()}\n\n{before[end:]}", "utf-8")
