"""The worker process, from the service's side."""

from __future__ import annotations

import os
import signal

import pytest

from paceline_tuner.sampling.client import History, Sampler, SamplerError
from paceline_tuner.study.codec import spec_to_json


@pytest.fixture
async def sampler():
    """A started worker."""
    worker = Sampler()
    await worker.start()
    yield worker
    await worker.stop()


def finished(*trials):
    return [(number, params, "complete", float(number)) for number, params in enumerate(trials, 1)]


async def test_suggestions_follow_the_history(sampler, spec):
    first, note = await sampler.suggest("a", History(spec_to_json(spec), [], {}))
    second, _ = await sampler.suggest("a", History(spec_to_json(spec), finished(first), {}))
    assert note == ""
    assert first != second


async def test_killed_it_is_started_again_and_told_everything(sampler, spec):
    first, _ = await sampler.suggest("a", History(spec_to_json(spec), [], {}))
    pid = sampler.pid
    os.kill(pid, signal.SIGKILL)
    second, _ = await sampler.suggest("a", History(spec_to_json(spec), finished(first), {}))
    assert sampler.pid != pid
    assert second != first


async def test_only_news_are_sent_and_a_changed_past_starts_anew(sampler, spec):
    history = History(spec_to_json(spec), [], {})
    first, _ = await sampler.suggest("a", history)
    history = History(history.spec, finished(first), {})
    assert len(sampler._message("suggest", "a", history)["finished"]) == 1
    await sampler.suggest("a", history)
    assert sampler._message("suggest", "a", history)["finished"] == []
    changed = History(history.spec, [(1, first, "failed", None)], {})
    message = sampler._message("suggest", "a", changed)
    assert "spec" in message
    assert len(message["finished"]) == 1


async def test_a_fault_of_the_sampler_is_an_error_and_the_worker_lives(sampler, spec):
    broken = spec_to_json(spec) | {"knobs": [{"name": "x"}]}
    with pytest.raises(SamplerError):
        await sampler.suggest("broken", History(broken, [], {}))
    pid = sampler.pid
    assert (await sampler.suggest("a", History(spec_to_json(spec), [], {})))[0]
    assert sampler.pid == pid
