"""Knobs come after what their conditions look at."""

from __future__ import annotations

from paceline_tuner.study.conditions import is_active, ordered, reachable, takes
from paceline_tuner.study.spec import Condition, Knob


def knob(name: str, parent: str | None = None) -> Knob:
    """A choice, with a condition on `parent`."""
    when = Condition(parent, (1,)) if parent else None
    return Knob(name, "arguments", name, "choice", "speed", choices=(1, 2), when=when)


def test_knobs_follow_their_parents_and_else_keep_their_order() -> None:
    made = ordered([knob("a", "c"), knob("b"), knob("c", "d"), knob("d"), knob("e")])
    assert [each.name for each in made] == ["b", "d", "c", "a", "e"]


def test_circles_and_strangers_stay_at_the_end() -> None:
    made = ordered([knob("a", "b"), knob("b", "a"), knob("c", "nobody"), knob("d")])
    assert [each.name for each in made] == ["d", "a", "b", "c"]


def test_a_knob_is_active_where_its_parent_is_and_has_the_value() -> None:
    assert is_active(knob("a"), {})
    assert is_active(knob("a", "b"), {"b": 1})
    assert not is_active(knob("a", "b"), {"b": 2})
    assert not is_active(knob("a", "b"), {})


def test_what_a_knob_takes() -> None:
    span = Knob("a", "arguments", "a", "float", "speed", low=1, high=3)
    assert takes(span, 2) and not takes(span, 4) and not takes(span, True) and not takes(span, "2")
    assert takes(knob("a"), 1) and not takes(knob("a"), True) and not takes(knob("a"), 3)


def test_what_can_never_be_asked_for_is_dropped() -> None:
    empty = Knob("empty", "arguments", "empty", "choice", "speed")
    many = Knob("many", "arguments", "many", "choice", "speed", choices=(1,), when=Condition("a", (2, 3)))
    left = reachable([knob("a"), empty, knob("b", "empty"), knob("c", "b"), many])
    assert [each.name for each in left] == ["a", "many"]
    assert left[1].when == Condition("a", (2,))
