"""The state table, in full."""

from __future__ import annotations

import itertools

import pytest

from paceline_tuner.service.states import SIGNALS, STANDINGS, STATES, TRANSITIONS, step

EXPECTED = {
    "proposed": {"life": "running", "end": "ending", "complete": None, "lease": "closed"},
    "running": {"life": "running", "end": "ending", "complete": None, "lease": "closed"},
    "ending": {"life": "ending", "end": None, "complete": "closed", "lease": "closed"},
    "closed": {"life": None, "end": None, "complete": None, "lease": None},
    "lost": {"life": "running", "end": "ending", "complete": None, "lease": None},
}


@pytest.mark.parametrize(("standing", "signal"), list(itertools.product(STANDINGS, SIGNALS)))
def test_every_state_answers_every_signal(standing, signal):
    assert step(standing, signal) == EXPECTED[standing][signal]


def test_the_table_names_only_known_states():
    assert set(TRANSITIONS.values()) <= set(STATES)
    assert {standing for standing, _ in TRANSITIONS} <= set(STANDINGS)


@pytest.mark.parametrize("state", [state for state in STATES if state != "closed"])
def test_every_open_state_closes_by_its_lease_alone(state):
    assert step(state, "lease") == "closed"
