"""What can go wrong with a real training job: one clear message each, and the study goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="trains: pip install 'paceline[demo]'")
pytestmark = pytest.mark.slow

FAULTY = """
import json, os, re, runpy, signal, sys, time
from pathlib import Path
import torch
from transformers import Trainer, TrainerCallback

train, plan = sys.argv[1], json.loads(sys.argv[2])
sys.argv[:] = [train, *sys.argv[3:]]
rank = os.environ.get("RANK", "0")
run_id = json.loads(os.environ.get("PACELINE_PROPOSAL", "{}")).get("run_id", "")
fault = plan.get("-".join(run_id.split("-")[1:3]), "")

class Fault(TrainerCallback):
    def on_step_begin(self, args, state, control, model=None, **more):
        if state.global_step != 3:
            return
        if fault == "oom":
            torch.empty(2**50)
        elif fault == "nan":
            for parameter in model.parameters():
                parameter.data.fill_(float("nan"))
        elif fault == "raise" and rank == "1":
            raise RuntimeError("the data of this rank is gone")
        elif fault == "stop" and rank == "1":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault.startswith("/"):
            while not os.path.exists(fault):
                time.sleep(0.05)

begin = Trainer.__init__
Trainer.__init__ = lambda self, *args, **more: begin(self, *args, callbacks=[Fault()], **more)
runpy.run_path(train, run_name="__main__")
"""
"""The demo's own script, with a fault after the third step of the runs that the plan names (`TRIAL-RUN`). Where
the fault is a path, the run waits until there is something."""


def faulty(world: Any, plan: str, *words: str, ranks: int = 1) -> list[str]:
    script = world.root / "faulty.py"
    script.write_text(FAULTY)
    *start, train, output, directory = world.job(ranks=ranks)[: 4 if ranks == 1 else 9]
    rest = world.job(*words, ranks=ranks)[len(start) + 3 :]
    return [*start, str(script), train, plan, output, directory, *rest]


def said_once(text: str, words: str) -> str:
    (line,) = [line for line in text.splitlines() if re.search(words, line)]
    return str(line)


def test_out_of_memory_and_a_loss_that_is_not_finite_fail_and_the_study_goes_on(world: Any) -> None:
    plan = '{"1-0": "oom", "1-1": "oom", "2-0": "nan"}'
    tune = world.tune(world.write(faulty(world, plan), budget={"trials": 3, "run": "100s"}))
    assert tune.wait() == 0, tune.said
    view = world.view()
    assert view["state"] == "done"
    trials = view["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "failed", "complete"], tune.said
    assert [(run["outcome"], run["cause"]) for run in trials[1]["runs"]] == [("failed", "oom")] * 2
    assert trials[1]["reason"].startswith("out of memory: rank 0 at step 3: RuntimeError: ")
    assert "allocate memory" in trials[1]["reason"]
    broken, good = trials[2]["runs"]
    assert (broken["outcome"], broken["cause"], good["outcome"]) == ("failed", "nan", "finished")
    assert broken["reason"] == "the loss is not finite at step 4; lower the learning rate or the precision knob"
    for run in trials[1]["runs"]:
        said_once(tune.said, f"{run['run_id']}: failed: out of memory: rank 0 at step 3")
        said_once(tune.said, f"{run['run_id']}: log at ")
    assert world.trainers() == []


def test_an_exception_and_a_hang_on_one_rank_end_all_ranks_and_the_study_goes_on(world: Any) -> None:
    plan = '{"0-0": "raise", "1-0": "stop"}'
    agent = world.service(
        "agent", "--rings.directory", world.rings, "--tuner.url", world.tuner.url, "--spool.directory",
        world.root / "spool",
    )  # fmt: skip
    study = world.write(faulty(world, plan, ranks=2), budget={"trials": 2, "run": "100s", "hang": "10s"})
    tune = world.tune(study, agent.url)
    assert tune.wait() == 0, tune.said
    trials = world.view()["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete"], tune.said
    raised, hung = trials[0]["runs"][0], trials[1]["runs"][0]
    assert (raised["outcome"], raised["cause"]) == ("failed", "crash")
    assert raised["reason"] == "rank 1 at step 3: RuntimeError: the data of this rank is gone"
    assert (hung["outcome"], hung["cause"]) == ("failed", "hang")
    assert re.fullmatch(r"no step for \d+ s after step 3; allowed are 10 s \(hang_seconds\)", hung["reason"])
    said_once(tune.said, f"{raised['run_id']}: failed: rank 1 at step 3")
    said_once(tune.said, f"{hung['run_id']}: stopping: no step for")
    said_once(tune.said, f"{hung['run_id']}: failed: no step for")
    assert world.trainers() == [], "a stopped rank that obeys no SIGTERM is gone all the same"


def test_a_knob_that_the_installed_transformers_does_not_know_ends_the_study(world: Any) -> None:
    tune = world.tune(world.write(world.job(), knobs={"learning_rat": [1e-4, 1e-3]}))
    assert tune.wait() == 1
    view = world.view()
    assert view["state"] == "failed" and len(view["trials"][0]["runs"]) == 1
    assert "has no TrainingArguments field 'learning_rat'; did you mean learning_rate" in view["reason"]
    line = said_once(tune.said, "^study journey failed: ")
    assert line == f"study journey failed: {view['reason']}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["false"], "the command exited with status 1 before training; see its log"),
        (["no-such-command-here"], "cannot start 'no-such-command-here': no such command on PATH"),
        (["true"], "no training process attached: "),
    ],
)
def test_a_command_that_trains_nothing_ends_the_study_with_the_place_to_look(
    world: Any, command: list[str], said: str
) -> None:
    tune = world.tune(world.write(command))
    assert tune.wait() == 1
    view = world.view()
    assert view["state"] == "failed"
    assert "the default run did not work, so there is nothing to compare with: " in view["reason"]
    assert said in view["reason"] and "make the command work by itself first" in view["reason"]
    said_once(tune.said, "^study journey failed: ")
    assert f"  logs are at {world.study}/runs/RUN/log.txt" in tune.said
    for run in view["trials"][0]["runs"]:
        assert (world.study / "runs" / run["run_id"] / "log.txt").exists()


def test_a_killed_agent_costs_training_nothing_and_the_tuner_no_step(world: Any, until: Any) -> None:
    agent = world.service(
        "agent", "--rings.directory", world.rings, "--tuner.url", world.tuner.url, "--spool.directory",
        world.root / "spool",
    )  # fmt: skip
    objective = {"throughput": "tokens", "warmup_steps": 10, "measure_steps": 390}
    seen = world.root / "seen"
    job = faulty(world, json.dumps({"0-0": str(seen)}))
    tune = world.tune(world.write(job, objective=objective, budget={"trials": 1, "run": "100s"}), agent.url)

    def steps() -> int:
        trials = world.view()["trials"] if world.study.exists() else []
        return max([run["last_step"] or 0 for trial in trials for run in trial["runs"]], default=0)

    until(lambda: steps() > 0, "steps that the agent reported")
    agent.kill()
    seen.touch()
    assert tune.wait() == 0, tune.said
    (run,) = world.view()["trials"][0]["runs"]
    assert (run["outcome"], run["last_step"], run["summary"]["aligned_steps"]) == ("finished", 400, 390)
    log = (world.study / "runs" / run["run_id"] / "log.txt").read_text()
    assert "Traceback" not in log


def test_rings_that_cannot_be_made_end_the_study_with_what_to_do(world: Any) -> None:
    (world.root / "file").touch()
    world.environment["PACELINE_RING_DIR"] = str(world.root / "file" / "rings")
    tune = world.tune(world.write(world.job()))
    assert tune.wait() == 1
    view = world.view()
    assert view["state"] == "failed" and len(view["trials"][0]["runs"]) == 1
    assert f"no ring can be made in {world.root}/file/rings, so nothing is measured" in view["reason"]
    (run,) = view["trials"][0]["runs"]
    log = Path(world.study / "runs" / run["run_id"] / "log.txt").read_text()
    line = said_once(log, "steps are not recorded")
    assert f"cannot make a ring in {world.root}/file/rings (Not a directory): set PACELINE_RING_DIR" in line
