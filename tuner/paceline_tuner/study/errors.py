"""What is wrong with a study, said so that its author can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import NamedTuple


class StudyError(ValueError):
    """A study that cannot be run as written.

    The text says where (file:line and field, where known), what was expected, and what to do; the service
    answers it with status 400, the command line with exit status 2.
    """


class Problem(NamedTuple):
    """One thing wrong with one field of a study."""

    field: tuple[str, ...]
    """Where: ("knobs", "learning_rate", "low"); () for the study as a whole."""
    text: str
    """What was expected, and what to do."""
    line: int | None = None
    """Of the study file, from 1; None where it must be found by the field."""

    def __str__(self) -> str:
        return f"{'.'.join(self.field)}: {self.text}" if self.field else self.text


class FieldError(StudyError):
    """Raised while a study is read, with all that was found wrong; the reader adds the file's name."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


def raise_for(problems: Iterable[Problem], place: Callable[[Problem], str] = lambda _: "") -> None:
    """Raise one StudyError with a line for each problem, or return when there is none.

    `place` gives what stands before a problem's field, such as `study.yaml:7: `.
    """
    lines = [f"{place(problem)}{problem}" for problem in problems]
    if lines:
        raise StudyError("\n".join(lines))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean X?` for the nearest known word, else the list of all."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(words)}"
