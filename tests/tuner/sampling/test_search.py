"""One suite for every sampler."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from paceline_exporters.messages import canonical
from paceline_tuner.sampling.samplers import KINDS, choose, startup_trials
from paceline_tuner.sampling.search import BEST, LATEST, SLACK, Finished, Search
from paceline_tuner.sampling.space import place


def score(params):
    return params["dataloader_num_workers"] - abs(params["learning_rate"] - 1e-3) * 100


def play(search, trials, first=1, ends=("complete",)):
    """Run trials one after the other; returns their parameters."""
    seen, news = [], []
    for number in range(first, first + trials):
        params = search.suggest(news, {})
        search.suggest([], {number: params})
        state = ends[number % len(ends)]
        news = [Finished(number, params, state, score(params) if state == "complete" else None)]
        seen.append(params)
    return seen


@pytest.fixture(params=sorted(KINDS))
def sampler(request, spec):
    """A study for each sampler."""
    missing = [module for module in KINDS[request.param].needs if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"the sampler {request.param} needs {', '.join(missing)}")
    return replace(spec, sampler=request.param)


def test_suggestions_lie_in_the_space_and_do_not_repeat(sampler):
    seen = play(Search(sampler, 0), 20, ends=("complete", "complete", "failed", "pruned"))
    assert all(place(sampler, params) is not None for params in seen)
    assert len({canonical(params) for params in seen}) == len(seen)


def test_a_search_goes_on_from_its_history(sampler):
    first = play(Search(sampler, 0), 8)
    history = [Finished(number, params, "complete", score(params)) for number, params in enumerate(first, 1)]
    again = Search(sampler, len(history))
    params = again.suggest(history[:5], {6: first[5], 7: first[6]})
    later = again.suggest(history[5:], {})
    assert canonical(params) not in {canonical(old) for old in first}
    assert canonical(later) not in {canonical(old) for old in first}


def test_pending_trials_are_not_suggested_again(sampler):
    search, running = Search(sampler, 0), {}
    for number in range(1, 9):
        running[number] = search.suggest([], running)
    assert len({canonical(params) for params in running.values()}) == 8


def test_a_small_space_is_walked_through_before_it_repeats(small):
    search, seen, news = Search(small, 0), [], []
    for number in range(1, 9):
        params = search.suggest(news, {})
        news = [Finished(number, params, "complete", float(params["micro"]))]
        seen.append(canonical(params))
    assert len(set(seen)) >= 5


def test_a_long_history_is_cut_to_its_best_and_latest(spec):
    search = Search(spec, 0)
    params = search.suggest([], {})
    total = BEST + LATEST + SLACK + 1
    history = [Finished(number, params, "complete", float(number % 700)) for number in range(1, total + 1)]
    search.suggest(history, {total + 1: params})
    kept = search._study.get_trials(deepcopy=False)
    values = [trial.value for trial in kept if trial.value is not None]
    assert len(kept) <= BEST + LATEST + 2
    assert max(values) == 699.0
    assert search.suggest([Finished(total + 1, params, "complete", 1.0)], {}) is not None


def test_trials_outside_the_space_are_no_lesson(spec):
    stray = Finished(1, {"learning_rate": 5.0}, "complete", 1e9)
    search = Search(spec, 1)
    assert search.suggest([stray], {})
    assert search.importance([]) == {}


def test_importance_finds_what_matters(spec):
    search = Search(replace(spec, sampler="random"), 0)
    history = []
    for number in range(1, 61):
        params = search.suggest([], {})
        history.append(Finished(number, params, "complete", float(params["dataloader_num_workers"])))
    found = search.importance(history)
    assert max(found, key=found.get) == "dataloader_num_workers"


def test_a_sampler_that_lacks_its_libraries_is_replaced_and_says_so():
    name, note = choose("cmaes")
    if importlib.util.find_spec("cmaes") is None:
        assert name == "tpe"
        assert "pip install cmaes" in note
    else:
        assert (name, note) == ("cmaes", "")


def test_a_small_budget_still_learns():
    assert [startup_trials(budget) for budget in (5, 20, 30, 1000)] == [3, 6, 10, 10]
