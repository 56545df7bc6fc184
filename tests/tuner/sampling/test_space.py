"""Knobs as Optuna's distributions, and back."""

from __future__ import annotations

import optuna
import pytest

from paceline_exporters.messages import canonical
from paceline_tuner.sampling.space import decode, distribution, encode, place, suggest


@pytest.fixture
def suggestions(spec):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [suggest(study.ask(), spec) for _ in range(50)]


def test_suggestions_obey_ranges_choices_and_conditions(spec, suggestions):
    knobs = {knob.name: knob for knob in spec.knobs}
    for params in suggestions:
        for name, value in params.items():
            knob = knobs[name]
            assert value in knob.choices if knob.kind == "choice" else knob.low <= value <= knob.high
        assert ("dataloader_prefetch_factor" in params) == (params["dataloader_num_workers"] > 0)


def test_every_suggestion_has_its_place(spec, suggestions):
    for params in suggestions:
        values, spaces = place(spec, params)
        assert set(values) == set(spaces) == set(params)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1.0},
        {"weight_decay": 0.03},
        {"ddp.bucket_cap_mb": 26},
        {"dataloader_num_workers": 0},
        {"lr_scheduler_kwargs": {"num_cycles": 3}},
        {"unknown": 1},
        {"learning_rate": "fast"},
    ],
)
def test_what_lies_outside_has_none(spec, suggestions, change):
    params = next(params for params in suggestions if "dataloader_prefetch_factor" in params)
    assert place(spec, params | change) is None


def test_structured_choices_travel_as_text(spec):
    knob = next(knob for knob in spec.knobs if knob.name == "lr_scheduler_kwargs")
    assert [decode(knob, encode(knob, choice)) for choice in knob.choices] == list(knob.choices)
    assert distribution(knob).choices == tuple(canonical(choice) for choice in knob.choices)
