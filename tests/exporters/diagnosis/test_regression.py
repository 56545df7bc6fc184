from __future__ import annotations

import pytest
from ring_histories import Story, history

from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.regression import RegressionWatch


def found(story: Story) -> list[Finding]:
    watch = RegressionWatch()
    return [finding for step in history(story) for finding in watch.add(step)]


@pytest.mark.parametrize("fault", ["forward", "communication"])
def test_a_job_that_became_slower_is_found_once(fault: str) -> None:
    for seed in range(20):
        (finding,) = found(Story(seed, steps=600, fault=fault, onset=200))
        assert finding.kind == "regression"
        assert 192 <= finding.since_step <= 216
        assert 0.05 < finding.share < 0.15


@pytest.mark.parametrize("variable", [False, True], ids=["fixed", "variable"])
def test_a_job_that_goes_on_as_it_was_is_left_alone(variable: bool) -> None:
    alarms = [seed for seed in range(30) if found(Story(seed, steps=600, variable_lengths=variable))]
    assert len(alarms) <= (2 if variable else 0), alarms
