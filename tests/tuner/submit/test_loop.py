"""The submitter, with a real tuner and jobs that play."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_tuner.client import TunerAway, TunerClient
from paceline_tuner.submit import loop as loop_module

FINAL = {"objective": {"final": "eval_loss", "direction": "minimize", "max_steps": 8}}


def view(loop: Any) -> Any:
    return loop.tuner.study(loop.study)


def outcomes(loop: Any) -> list[tuple[Any, ...]]:
    """(trial, outcome, cause) of each run, in the order they were given out."""
    runs = [(run["created_at"], trial["number"], run) for trial in view(loop)["trials"] for run in trial["runs"]]
    return [(number, run["outcome"], run["cause"]) for _, number, run in sorted(runs, key=lambda item: item[0])]


def test_a_study_from_the_default_to_its_end(tuner: Any, job: Any, submitter: Callable[..., Any]) -> None:
    loop = submitter(tuner.url, job.study(budget={"trials": 4}))
    reason = loop.run()
    seen = view(loop)
    assert (seen["state"], seen["reason"]) == ("done", reason)
    assert [trial["state"] for trial in seen["trials"]] == ["complete"] * 4
    for trial, launch in zip(seen["trials"], job.launches(), strict=True):
        ms = trial["params"].get("placeholder.ms", 50)
        assert trial["value"] == pytest.approx(8 / (ms / 1000))
        assert launch["harness"]["output_dir"].startswith(str(loop.launcher.output_root))
    directories = sorted((loop.launcher.root / "runs").iterdir())
    assert len(directories) == 4
    for directory in directories:
        assert {path.name for path in directory.iterdir()} == {"log.txt", "outcome.json", "pid", "proposal.json"}
    assert job.processes() == []


def test_parallel_runs_of_a_final_study(tuner: Any, job: Any, submitter: Callable[..., Any]) -> None:
    loop = submitter(tuner.url, job.study(**FINAL, budget={"trials": 5, "parallel": 2}))
    most = 0

    def tick() -> None:
        nonlocal most
        most = max(most, len(loop.running))

    loop.tick = tick
    loop.run()
    assert most == 2
    assert view(loop)["counts"]["complete"] == len(job.launches()) == 5
    for trial in view(loop)["trials"]:
        assert trial["value"] == trial["params"].get("placeholder.ms", 50)


def test_failures_one_after_the_other_and_the_study_goes_on(
    tuner: Any, job: Any, submitter: Callable[..., Any]
) -> None:
    plan = ("ok", "crash", "ok", "crash", "crash", "cheat", "nan", "nan", "ok")
    loop = submitter(tuner.url, job.study(*plan, budget={"trials": 6}))
    loop.run()
    assert outcomes(loop) == [
        (0, "finished", "done"),
        (1, "failed", "crash"),  # tried once more
        (1, "finished", "done"),
        (2, "failed", "crash"),
        (2, "failed", "crash"),  # and then blamed
        (3, "rejected", "rejected"),  # a larger batch: no throughput to compare
        (4, "failed", "nan"),
        (4, "failed", "nan"),
        (5, "finished", "done"),
    ]
    seen = view(loop)
    assert seen["state"] == "done"
    states = [trial["state"] for trial in seen["trials"]]
    assert states == ["complete", "complete", "failed", "failed", "failed", "complete"]
    assert "global batch was 512, the default run's 8" in seen["trials"][3]["reason"]
    assert "exited with status 1 before training" in seen["trials"][2]["reason"]
    assert "the loss is not finite at step 3" in seen["trials"][4]["reason"]
    (line,) = [line for line in loop.said if line.startswith(f"{loop.study}-2-0-") and ": log at " in line]
    assert "the job's own last words" in Path(line.partition(": log at ")[2]).read_text()


def test_runs_that_hang_and_runs_that_are_hopeless_are_stopped(
    tuner: Any, agent: Any, job: Any, submitter: Callable[..., Any]
) -> None:
    spec = job.study("ok", "hang", "ok", "slow", budget={"trials": 3, "hang": "10s"})
    loop = submitter(tuner.url, spec, agent.url)
    loop.run()
    assert outcomes(loop) == [
        (0, "finished", "done"),
        (1, "failed", "hang"),
        (1, "finished", "done"),
        (2, "pruned", "stopped"),
    ]
    trials = view(loop)["trials"]
    assert re.search(
        r"no step for \d+ s after step 3; allowed are 10 s \(hang_seconds\)", trials[1]["runs"][0]["reason"]
    )
    assert "a trial is given up" in trials[2]["reason"] and trials[2]["state"] == "pruned"
    assert sum("stopping: " in line for line in loop.said) == 2
    assert job.processes() == []


def test_a_run_that_takes_too_long_is_stopped(tuner: Any, job: Any, submitter: Callable[..., Any]) -> None:
    loop = submitter(tuner.url, job.study("ok", "endless", budget={"trials": 2, "run": "9s"}))
    loop.run()
    assert outcomes(loop) == [(0, "finished", "done"), (1, "pruned", "stopped")]
    assert "the study allows 9 s (budget.run_seconds)" in view(loop)["trials"][1]["reason"]


def test_a_default_that_cannot_run_ends_the_study_with_the_place_to_look(
    tuner: Any, job: Any, submitter: Callable[..., Any]
) -> None:
    loop = submitter(tuner.url, job.study("crash"))
    reason = loop.run()
    assert view(loop)["state"] == "failed"
    assert "the default run did not work" in reason and "exited with status 1" in reason
    assert len(job.launches()) == 2


def test_a_tuner_that_is_away_when_a_run_ends_hears_of_it_later(
    own_tuner: Any, job: Any, submitter: Callable[..., Any], until: Any
) -> None:
    loop = submitter(own_tuner.url, job.study(budget={"trials": 2}))
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    until(lambda: job.launches(), "a launch")
    own_tuner.kill()
    until(lambda: any(line.startswith("waiting for the tuner: ") for line in loop.said), "the word that it waits")
    own_tuner.start()
    thread.join(60)
    assert view(loop)["counts"]["complete"] == 2
    assert len(job.launches()) == 2, "nothing ran twice"
    assert sum(line.startswith("waiting for the tuner: no answer from") for line in loop.said) == 1
    assert loop.said.count("the tuner answers again") == 1


def test_reports_that_the_supervisor_could_not_deliver_are_delivered(
    tuner: Any, job: Any, submitter: Callable[..., Any]
) -> None:
    loop = submitter(tuner.url, job.study(budget={"trials": 2}))
    proposal = loop.tuner.ask(loop.study, loop.client, "first", str(loop.launcher.output_root))["proposal"]
    run_id, directory = proposal["run_id"], loop.launcher.directory(proposal["run_id"])
    directory.path.mkdir(parents=True)
    steps = {"step": [*range(1, 9)], "samples": [8.0] * 8, "step_seconds": [0.05] * 8}
    ring = {"ring": "ab" * 16, "run_id": run_id, "rank": 0, "world_size": 1, "attempt": 0, "node": "here"}
    ring |= {"alive": False, "generation": 1, "window": {"first": 0, "last": 7, "columns": steps}}
    ring |= {"events": [{"number": 0, "kind": "end", "wall": 1.0, "step": 8.0}]}
    told = {"schema": 1, "state": "finished", "reason": "done"}
    broken = {"reporter": "run", "node": "here", "rings": "not a list"}
    unsent = [broken, {"schema": 1, "reporter": "run", "node": "here", "rings": [ring]}]
    (directory.path / "outcome.json").write_text(json.dumps({**told, "unsent": unsent}))
    loop.run()
    assert view(loop)["trials"][0]["value"] == pytest.approx(160.0)
    assert any(line == f"{run_id}: taken up again, finished" for line in loop.said)
    assert any("a report of its steps was refused: field 'rings'" in line for line in loop.said)


def test_what_was_asked_for_and_never_started_is_run_again(
    tuner: Any, job: Any, submitter: Callable[..., Any]
) -> None:
    loop = submitter(tuner.url, job.study(budget={"trials": 2}))
    loop.tuner.ask(loop.study, loop.client, "first", str(loop.launcher.output_root))
    loop.run()
    assert outcomes(loop) == [
        (0, "interrupted", "interrupted"),
        (0, "finished", "done"),
        (1, "finished", "done"),
    ]


def test_an_interrupted_submitter_ends_its_runs_and_another_goes_on(
    tuner: Any, job: Any, submitter: Callable[..., Any]
) -> None:
    spec = job.study("ok", "endless", "endless", "ok", **FINAL, budget={"trials": 4, "parallel": 2})
    loop = submitter(tuner.url, spec)

    def tick() -> None:
        if job.hangs(1) and job.hangs(2):
            raise KeyboardInterrupt

    loop.tick = tick
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert len(loop.running) == 2
    loop.abandon()
    assert job.processes() == [] and not loop.running
    assert sorted(outcomes(loop)[1:]) == [(1, "interrupted", "interrupted"), (2, "interrupted", "interrupted")]
    again = submitter(tuner.url, spec)
    assert again.client == loop.client
    again.run()
    assert view(loop)["counts"]["complete"] == 4
    assert len(job.launches()) == 6


def test_an_interrupted_submitter_does_not_wait_long_for_a_tuner_that_is_away(
    own_tuner: Any, job: Any, submitter: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "PARTING_SECONDS", 0.0)
    spec = job.study("endless", "ok", budget={"trials": 2})
    loop = submitter(own_tuner.url, spec)

    def tick() -> None:
        if job.hangs(0):
            raise KeyboardInterrupt

    loop.tick = tick
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    own_tuner.kill()
    loop.tick = lambda: None
    with pytest.raises(TunerAway):
        loop.abandon()
    assert job.processes() == []
    own_tuner.start()
    submitter(own_tuner.url, spec).run()
    assert TunerClient(own_tuner.url).study(spec.name)["counts"]["complete"] == 2
