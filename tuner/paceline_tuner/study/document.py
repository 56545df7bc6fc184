"""YAML as nodes that know where they stand, with scalars read as people mean them.

YAML 1.1 reads `1e-5` as text, `on` as true and `1:30` as 90. Here numbers are numbers however written, only
`true` and `false` are booleans, and the words that YAML 1.1 takes for booleans must be quoted or replaced.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from .errors import FieldError, Problem

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,17})")
FLOAT = re.compile(r"[-+]?((0|[1-9][0-9_]*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
AMBIGUOUS = ("yes", "no", "on", "off", "y", "n")
MAX_BYTES = 1 << 20
MAX_DEPTH = 20


@dataclass(frozen=True)
class Node:
    """One value of the document."""

    field: tuple[str, ...]
    line: int
    """From 1; of a mapping's entry, the line of its key."""
    content: str | list[Node] | dict[str, Node]
    """A scalar's text as written, or what is inside."""
    quoted: bool = False

    def fail(self, text: str) -> NoReturn:
        """Raise the error that this node is not what it should be."""
        raise FieldError(Problem(self.field, text, self.line))

    def mapping(self, expected: str = "a mapping") -> dict[str, Node]:
        """The entries of a mapping."""
        return self.content if isinstance(self.content, dict) else self.fail(f"expected {expected}, got {self}")

    def items(self, expected: str = "a list") -> list[Node]:
        """The items of a list."""
        return self.content if isinstance(self.content, list) else self.fail(f"expected {expected}, got {self}")

    def value(self) -> Any:
        """As plain data."""
        if isinstance(self.content, dict):
            return {key: node.value() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.value() for node in self.content]
        return self.content if self.quoted else self._scalar(self.content)

    def _scalar(self, text: str) -> Any:
        if text.lower() in WORDS:
            return WORDS[text.lower()]
        if text.lower() in AMBIGUOUS:
            self.fail(
                f"`{text}` is true or false to some readers and text to others: write true or false, or quote it"
            )
        if INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
        return self._number(text) if FLOAT.fullmatch(text) else text

    def _number(self, text: str) -> float:
        number = float(text.replace("_", ""))
        return number if math.isfinite(number) else self.fail(f"expected a finite number, got {text}")

    def find(self, field: tuple[str, ...]) -> Node:
        """The node that `field` names, or the nearest above it; `choices` may be left out of the document."""
        if not field:
            return self
        inside = self.content if isinstance(self.content, dict) else {}
        if isinstance(self.content, list):
            inside = {str(number): node for number, node in enumerate(self.content)}
        if field[0] in inside:
            return inside[field[0]].find(field[1:])
        return self.find(field[1:]) if field[0] == "choices" else self

    def __str__(self) -> str:
        if isinstance(self.content, str):
            return repr(self.content) if self.content else "nothing"
        return "a mapping" if isinstance(self.content, dict) else "a list"


def read(path: Path) -> Node:
    """The document in a file; FieldError when it cannot be read or is no YAML."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FieldError(
            Problem((), f"cannot be read ({error.strerror}): give the path of a study file")
        ) from None
    if len(data) > MAX_BYTES:
        raise FieldError(Problem((), f"expected a study file of at most {MAX_BYTES} bytes: is it another file?"))
    try:
        return parse(data.decode())
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FieldError(Problem((), "expected UTF-8 text: save the file as UTF-8", line)) from None


def parse(text: str) -> Node:
    """The document in a text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FieldError(
            Problem((), f"is no YAML: {error.problem or error.context}", mark.line + 1 if mark else None)
        ) from None
    except yaml.YAMLError as error:
        raise FieldError(Problem((), f"is no YAML: {' '.join(str(error).split())}")) from None
    if root is None:
        raise FieldError(Problem((), "is empty: expected study, command, knobs and objective", 1))
    return _node(root, (), root.start_mark.line + 1)


def _node(node: yaml.Node, field: tuple[str, ...], line: int) -> Node:
    if len(field) > MAX_DEPTH:
        raise FieldError(Problem(field, f"is nested more than {MAX_DEPTH} deep: write it out flat", line))
    if isinstance(node, yaml.MappingNode):
        return Node(field, line, _entries(node, field))
    if isinstance(node, yaml.SequenceNode):
        items = [_node(item, (*field, str(n)), item.start_mark.line + 1) for n, item in enumerate(node.value)]
        return Node(field, line, items)
    quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
    return Node(field, line, str(node.value), quoted)


def _entries(node: yaml.MappingNode, field: tuple[str, ...]) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise FieldError(
                Problem(field, "expected a name before the colon; quote text that holds braces", line)
            )
        if key.value in entries:
            raise FieldError(
                Problem(
                    (*field, key.value),
                    f"is there twice, first in line {entries[key.value].line}: keep one",
                    line,
                )
            )
        entries[key.value] = _node(value, (*field, key.value), line)
    return entries
