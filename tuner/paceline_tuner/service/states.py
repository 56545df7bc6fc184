"""A run's states, and every transition that is allowed between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

State = Literal["proposed", "running", "ending", "closed"]
Standing = Literal["proposed", "running", "ending", "closed", "lost"]
"""A state, told apart where it matters: `lost` is a run closed as lost whose work nobody else was given."""
Signal = Literal["life", "end", "complete", "lease"]
"""What moves a run: a heartbeat or window; the submitter's word; all windows arrived; its lease ran out."""

STATES: tuple[State, ...] = ("proposed", "running", "ending", "closed")
OPEN_STATES: tuple[State, ...] = ("proposed", "running", "ending")
STANDINGS: tuple[Standing, ...] = (*STATES, "lost")
SIGNALS: tuple[Signal, ...] = ("life", "end", "complete", "lease")

TRANSITIONS: Mapping[tuple[Standing, Signal], State] = {
    ("proposed", "life"): "running",
    ("proposed", "end"): "ending",
    ("proposed", "lease"): "closed",
    ("running", "life"): "running",
    ("running", "end"): "ending",
    ("running", "lease"): "closed",
    ("ending", "life"): "ending",
    ("ending", "complete"): "closed",
    ("ending", "lease"): "closed",
    ("lost", "life"): "running",
    ("lost", "end"): "ending",
}
"""What is not listed changes nothing: a closed run stays closed, whoever speaks of it later."""


def step(standing: Standing, signal: Signal) -> State | None:
    """The state that `signal` leads to, or None where it changes nothing."""
    return TRANSITIONS.get((standing, signal))
