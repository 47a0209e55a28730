"""What a step sees of the declaration around it while it is compiled: inputs, earlier columns, files; and its problems.

Every question has an answer, a stand-in where the declaration is wrong, and the problem is noted. So a step's
`compile` needs no branches for mistakes, and one pass over a declaration finds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from botshard.processing.terms import FileRef, parse_terms
from botshard.sharding.catalog import TensorSpec
from botshard.sharding.errors import Problem

__all__ = ["Column", "Scope"]


@dataclass(slots=True)
class Column:
    """What a step makes: what it will be once there is a batch."""

    datatype: str
    width: int | None
    """Elements a row; None: as many as the model gives."""


@dataclass(slots=True)
class Scope:
    """The declaration as one step sees it. Steps are compiled in order and change it in order."""

    inputs: Sequence[TensorSpec]
    files: Container[str]
    read: Callable[[str], bytes] | None
    """Reads a file of the artifact; None: files are not there yet, only their names."""
    step: str = ""
    """The step being compiled: `preprocess[1]`."""
    has_gaps: bool = False
    """A step was refused, so that what it would have made is not known: its absence is no problem of later steps."""
    problems: list[Problem] = field(default_factory=list)
    used_texts: dict[str, None] = field(default_factory=dict)
    """Text inputs that a step before the model reads, in order of use."""
    vectorised: dict[str, None] = field(default_factory=dict)
    """Those of them that became numbers."""
    asked_texts: dict[str, None] = field(default_factory=dict)
    """Text inputs that a step after the model reads."""
    columns: dict[str, Column] = field(default_factory=dict)
    """What the steps of this phase made so far, by name."""
    scores_name: str | None = None
    """The newest column of scores; None: the model's only output."""
    labels: tuple[str, ...] = ()
    """The labels of the newest step that had some; empty too where they are in a file that is not there yet."""
    labels_step: str | None = None
    """That step; None: there is none yet."""

    def problem(self, parameter: str, found: object, expected: str) -> None:
        """Notes that a parameter of the step being compiled is wrong."""
        path = f"{self.step}.{parameter}" if parameter else self.step
        self.problems.append(Problem.of(path, found, expected))

    # --- texts -------------------------------------------------------------------------------------------------------

    def text(self, name: str | None) -> str:
        """The text input that a step before the model works on; None: the only one there is."""
        name = self._text_input(name)
        if name in self.vectorised and name in self.columns:
            self.problem("", name, f"before the step that makes {name!r} a tensor, or that step needs another `into`")
        self.used_texts.setdefault(name)
        return name

    def asked_text(self, name: str | None) -> str:
        """The text input, as the client sent it, that a step after the model looks at; None: the only one there is."""
        name = self._text_input(name)
        self.asked_texts.setdefault(name)
        return name

    def _text_input(self, name: str | None) -> str:
        texts = [spec for spec in self.inputs if spec.datatype == "BYTES"]
        if name is not None:
            chosen = [spec for spec in texts if spec.name == name]
        elif len(texts) == 1:
            chosen = texts
        else:
            chosen = []
        if not chosen:
            names = ", ".join(spec.name for spec in texts)
            expected = f"the name of a BYTES input ({names or 'the bot declares none'})"
            self.problem("input", name, expected)
            return ""
        spec = chosen[0]
        if any(size not in (-1, 1) for size in spec.shape[1:]) or len(spec.shape) > 2:
            index = self.inputs.index(spec)
            shown = Problem.of(f"inputs[{index}].shape", list(spec.shape), "[-1, 1] or [-1]: steps take one text a row")
            if shown not in self.problems:
                self.problems.append(shown)
        return spec.name

    def tensor(self, text: str, into: str | None, datatype: str, width: int | None) -> str:
        """Notes that a text becomes a tensor for the model; the tensor's name is `into`, or else the text's."""
        name = into or text
        others = {spec.name for spec in self.inputs} - {text}
        if name in self.columns or name in others:
            self.problem("into", name, "a name of its own: the model gets another tensor of that name")
        self.vectorised.setdefault(text)
        self.columns[name] = Column(datatype, width)
        return name

    # --- columns after the model -------------------------------------------------------------------------------------

    def scores(self, name: str | None) -> str | None:
        """The scores that a step works on: the named model output or column, else the newest; None: the only output."""
        return self.scores_name if name is None else name

    def make(self, parameter: str, name: str, column: Column) -> str:
        """Notes that the step makes a column."""
        if name in self.columns:
            self.problem(parameter, name, "a name of its own: an earlier step makes a column of that name")
        self.columns[name] = column
        return name

    def made(self, parameter: str, name: str, datatype: str) -> str:
        """A column that an earlier step made and this one changes."""
        column = self.columns.get(name)
        if column is None and self.has_gaps:
            return name
        if column is None or column.datatype != datatype:
            names = [known for known, other in self.columns.items() if other.datatype == datatype]
            self.problem(
                parameter, name, f"a {datatype} column of an earlier step ({', '.join(names) or 'there is none'})"
            )
        return name

    def label_scores(self, parameter: str, name: str | None, labels: tuple[str, ...]) -> None:
        """Notes that the scores `name` are as many as `labels`."""
        self.labels, self.labels_step = labels, self.step
        column = self.columns.get(name) if name is not None else None
        if column is None or not labels:
            return
        if column.width not in (None, len(labels)):
            self.problem(
                parameter, f"{len(labels)} labels", f"{column.width} labels, one a score as in an earlier step"
            )
        column.width = len(labels)

    # --- files and patterns ------------------------------------------------------------------------------------------

    def terms(self, parameter: str, value: tuple[str, ...] | FileRef) -> tuple[str, ...]:
        """The texts of a list, inline or in a file; empty where the file is not there yet."""
        if not isinstance(value, FileRef):
            return value
        name = value.file
        path = f"{parameter}.file"
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            self.problem(path, name, "a path inside the bot's folder")
        elif name not in self.files:
            self.problem(path, name, "a file of the bot's folder")
        elif self.read is not None:
            try:
                return parse_terms(self.read(name))
            except ValueError as error:
                self.problem(path, name, str(error))
            except OSError as error:
                self.problem(path, name, f"a file that can be read ({error.strerror})")
        return ()

    def pattern(self, parameter: str, pattern: str) -> Any:
        """The compiled pattern; one that matches nothing where RE2 refuses it."""
        from botshard.processing.patterns import compile_pattern  # RE2 is only for those who have patterns

        compiled, problem = compile_pattern(pattern, f"{self.step}.{parameter}")
        if problem is not None:
            self.problems.append(problem)
        return compiled

    def replacement(self, parameter: str, template: str, pattern: Any) -> tuple[str | int, ...]:
        """The pieces of a replacement: text and group numbers."""
        from botshard.processing.patterns import compile_replacement, is_refused

        if is_refused(pattern):
            return ()
        pieces, problem = compile_replacement(template, pattern, f"{self.step}.{parameter}")
        if problem is not None:
            self.problems.append(problem)
        return pieces

    def group(self, parameter: str, group: int | str, pattern: Any) -> int:
        """The number of a pattern's group, given by number or by name."""
        from botshard.processing.patterns import is_refused

        if is_refused(pattern):
            return 0
        number = pattern.groupindex.get(group) if isinstance(group, str) else group
        if number is None or not 0 <= number <= pattern.groups:
            names = "".join(f", {name}" for name in pattern.groupindex)
            self.problem(parameter, group, f"a group of the pattern: 0 to {pattern.groups}{names}")
            return 0
        return int(number)
