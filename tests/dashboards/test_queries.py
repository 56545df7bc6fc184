"""Every expression of panels and rules: it parses, and it names only what the code exports."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

Expressions = Callable[[], list[tuple[str, str]]]
SELECTOR = re.compile(r"\b((?:run|rank|run_phase|gpu|port|nic):\w+:\w+|paceline_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"[^"]*"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right) \(([^)]*)\)")


def test_every_expression_parses(expressions: Expressions) -> None:
    parser = pytest.importorskip("promql_parser", reason="pip install 'paceline[dev]'")
    for where, expression in expressions():
        try:
            parser.parse(expression)
        except ValueError as error:
            raise AssertionError(f"{where}: {error}: {expression}") from error


def test_every_series_and_label_is_one_of_ours(
    expressions: Expressions, metrics: dict[str, set[str] | None]
) -> None:
    every = set().union(*(labels for labels in metrics.values() if labels))
    for where, expression in expressions():
        found = SELECTOR.findall(expression)
        assert found, f"{where} asks for no series of ours"
        for name, matchers in found:
            assert name in metrics, f"{where}: nobody exports {name}"
            used = set(MATCHER.findall(matchers))
            assert used <= (metrics[name] or used), f"{where}: {name} has no label {used - metrics[name]}"
        for labels in GROUPING.findall(expression):
            assert {label.strip() for label in labels.split(",") if label.strip()} <= every, f"{where}: {labels}"


def test_nothing_unknown_is_made_a_zero(expressions: Expressions) -> None:
    for where, expression in expressions():
        assert "vector(0)" not in expression and "absent(" not in expression, where


def test_rules_read_only_what_was_recorded_before(rules: dict[str, list[dict[str, str]]]) -> None:
    recorded: set[str] = set()
    for rule in rules["recording"]:
        used = {name for name, _ in SELECTOR.findall(rule["expr"]) if ":" in name}
        assert used <= recorded, f"{rule['record']} reads {used - recorded}, which comes later"
        recorded.add(rule["record"])
