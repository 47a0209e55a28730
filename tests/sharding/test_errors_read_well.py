"""The tree of errors, and what is said when a document is refused."""

from __future__ import annotations

import pytest

from botshard.sharding.errors import (
    CallerError,
    InvalidDocumentError,
    Problem,
    ShardingError,
    TerminalError,
    TransientError,
    WorldError,
)


def test_the_root_refuses_to_be_raised() -> None:
    """Whose fault it is must be said."""
    with pytest.raises(TypeError, match="CallerError, TransientError or TerminalError"):
        ShardingError("something")


def test_transient_errors_carry_a_hint() -> None:
    """When to try again, if anything is known."""
    assert TransientError("away").retry_after_s is None
    assert TransientError("away", retry_after_s=2.5).retry_after_s == 2.5


@pytest.mark.parametrize("error", [CallerError, TransientError, TerminalError], ids=lambda error: error.__name__)
def test_every_error_is_of_the_tree(error: type[ShardingError]) -> None:
    """One except clause catches ours and nothing else."""
    assert issubclass(error, ShardingError)
    assert issubclass(error, WorldError) == (error is not CallerError)


def test_a_refused_document_lists_every_problem() -> None:
    """One line a problem, each with the document, the field, what was found and what would be right."""
    error = InvalidDocumentError("bot.yaml", [Problem.of("id", "a b", "a name"), Problem.of("", None, "an object")])
    assert str(error) == "bot.yaml: id: must be a name, found 'a b'\nbot.yaml: must be an object, found nothing"
    assert len(error.problems) == 2
    assert error.document == "bot.yaml"


def test_a_long_value_is_shown_shortened() -> None:
    """A megabyte in the wrong field does not become a megabyte in the log."""
    assert Problem.of("x", "y" * 10**6, "short").found == "'" + "y" * 78 + "…"
