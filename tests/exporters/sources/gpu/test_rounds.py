from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from paceline_exporters.sources.gpu.child import rounds as module
from paceline_exporters.sources.gpu.child.announcing import RENEW_SECONDS, Announcer
from paceline_exporters.sources.gpu.child.rounds import LEAST_REST_SECONDS, Rounds

COSTS = {"fast": 0.84, "processes": 0.06, "slow": 4.0, "rare": 0.72}
"""Seconds for one GPU, where a call takes 60 ms."""


class Machine:
    """GPUs that take their time, by a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.now = 1000.0
        self.factor = factor
        self.gpus: list[Any] = [f"GPU-{index}" for index in range(8)]
        self.sampled: list[tuple[float, str, Any]] = []
        self.rounds = Rounds(lambda: self.gpus, self.sample)

    def sample(self, group: str, gpu: Any) -> None:
        self.now += COSTS[group] * self.factor
        self.sampled.append((self.now, group, gpu))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.rounds.run()
            self.now = self.rounds.rest_until()

    def longest_wait(self, group: str) -> float:
        """Between two readings of one GPU."""
        times = [[at for at, *of in self.sampled if of == [group, gpu]] for gpu in self.gpus]
        return max(later - at for row in times for at, later in pairwise(row))


def test_a_quick_driver_is_asked_at_each_groups_period_and_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.001)
    machine.run(61.0)
    for group, period in (("fast", 3.0), ("processes", 6.0), ("slow", 12.0), ("rare", 30.0)):
        assert machine.longest_wait(group) == pytest.approx(period, abs=0.1), group
    groups = [group for _, group, _ in machine.sampled[:32]]
    assert groups == [group for group in COSTS for _ in range(8)]


def test_a_slow_driver_answers_what_is_urgent_between_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 1.0)
    machine.run(300.0)
    assert machine.longest_wait("fast") < 20
    assert machine.longest_wait("processes") < 30
    assert machine.longest_wait("slow") < 100, "all have their turn"
    assert machine.longest_wait("rare") < 100


def test_a_round_that_is_late_is_still_followed_by_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 1.0)
    machine.rounds.run()
    assert machine.rounds.rest_until() == machine.now + LEAST_REST_SECONDS


def test_a_gpu_that_is_lost_in_a_round_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.001)
    sample = machine.sample

    def lose(group: str, gpu: Any) -> None:
        sample(group, gpu)
        machine.gpus = machine.gpus[:-1]

    machine.rounds = Rounds(lambda: machine.gpus, lose)
    machine.rounds.run(["fast"])
    assert len(machine.sampled) == 4


def test_what_is_hastened_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.001)
    machine.rounds.run()
    machine.sampled.clear()
    machine.rounds.hasten("slow")
    machine.rounds.run()
    assert {group for _, group, _ in machine.sampled} == {"slow"}


def test_calls_that_go_on_are_announced_once_a_second() -> None:
    said: list[tuple[Any, ...]] = []
    announcer = Announcer(lambda *words: said.append(words))
    announcer.begin("slow", "GPU-1")
    at = said[0][3]
    announcer.renew(at + RENEW_SECONDS / 2)
    assert len(said) == 1
    announcer.renew(at + RENEW_SECONDS)
    assert said[1] == ("begin", "slow", "GPU-1", at + RENEW_SECONDS)
    announcer.begin("slow", "GPU-2")
    assert said[2][:3] == ("begin", "slow", "GPU-2")
