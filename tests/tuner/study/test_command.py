"""Placeholders, and what only looks like them."""

from __future__ import annotations

import pytest

from paceline_tuner.study.command import fill, placeholders_in

COMMAND = ("bash", "-c", "run --lr {lr} --n={n}{lr} ${HOME} {{jinja}} {} {0} {a b}", '{"json": 1}')


def test_names_each_once() -> None:
    assert placeholders_in(COMMAND) == ("lr", "n")


def test_values_go_in_as_text() -> None:
    words = fill(COMMAND, {"lr": 1e-5, "n": True, "HOME": "x", "jinja": "x"})
    assert words[2] == "run --lr 1e-05 --n=True1e-05 ${HOME} {{jinja}} {} {0} {a b}"
    assert words[3] == '{"json": 1}'


def test_a_value_is_never_read_for_placeholders() -> None:
    assert fill(["{a}"], {"a": "{b}\\1"}) == ["{b}\\1"]


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="lr"):
        fill(COMMAND, {"n": 1})
