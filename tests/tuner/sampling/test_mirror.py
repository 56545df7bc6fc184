"""Optuna's copy."""

from __future__ import annotations

import optuna
import pytest

from paceline_tuner.sampling.mirror import Mirror


@pytest.fixture
def url(tmp_path):
    """A database."""
    return f"sqlite:///{tmp_path / 'mirror.sqlite'}"


def trials_in(url):
    storage = optuna.storages.RDBStorage(url)
    trials = optuna.load_study(study_name="demo", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


def test_trials_are_copied_once(small, url):
    for _ in range(2):
        mirror = Mirror(url)
        mirror.add(small, 0, {}, "complete", 1.0)
        mirror.add(small, 1, {"bf16": True, "micro": 2}, "complete", 2.0)
        mirror.add(small, 2, {"bf16": False, "micro": 4}, "failed", None)
        mirror.add(small, 3, {"bf16": False, "micro": 1}, "pruned", None)
        mirror.close()
    trials = trials_in(url)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED"]
    assert trials[1].params == {"bf16": True, "micro": 2}
    assert trials[1].value == 2.0


def test_after_an_error_it_looks_again(small, url):
    mirror = Mirror(url)
    mirror.add(small, 1, {"bf16": True, "micro": 2}, "complete", 2.0)
    mirror.forget()
    mirror.add(small, 1, {"bf16": True, "micro": 2}, "complete", 2.0)
    mirror.close()
    assert len(trials_in(url)) == 1
