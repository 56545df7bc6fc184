"""The phases of a step, in a real job on two ranks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import paceline_tuner.demo.train

PHASES = ("data_wait", "sync_wait", "forward", "backward", "optimizer", "other")
STEPS = 12

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(two_ranks: Callable[..., Any]) -> Callable[[bool], Any]:
    """The demonstration's own script, accumulating, logging each step, evaluating and saving in between."""

    def run(attach: bool) -> Any:
        arguments = (
            "--use_cpu True --output_dir OUT --max_steps 12 --per_device_train_batch_size 2 --disable_tqdm True "
            "--layers 1 --width 64 --gradient_accumulation_steps 2 --logging_steps 1 --eval_strategy steps "
            "--eval_steps 6 --save_strategy steps --save_steps 12 --seed 5"
        )
        return two_ranks(Path(paceline_tuner.demo.train.__file__), *arguments.split(), attach=attach)

    return run


@pytest.fixture(scope="module")
def watched(demo: Callable[[bool], Any]) -> Any:
    told = demo(True)
    assert told.status == 0, told.output
    return told


def history(told: Any) -> list[dict[str, float]]:
    """What Trainer itself logged, in full precision."""
    (state,) = (told.directory / "out").glob("checkpoint-*/trainer_state.json")
    logged: list[dict[str, float]] = json.loads(state.read_text())["log_history"]
    return logged


def test_every_rank_has_a_ring_and_no_other_process_has(watched: Any) -> None:
    assert [ring.header["rank"] for ring in watched.rings] == [0, 1]
    assert watched.rings[0].header["run_id"] == watched.rings[1].header["run_id"]
    assert {ring.header["world_size"] for ring in watched.rings} == {2}
    assert watched.notices() == []


def test_phases_add_up_and_none_is_negative(watched: Any) -> None:
    for ring in watched.rings:
        assert len(ring.steps) == STEPS
        for row in ring.steps:
            parts = [row[phase + "_seconds"] for phase in PHASES]
            assert all(part >= 0 for part in parts)
            assert math.isclose(sum(parts), row["step_seconds"], abs_tol=1e-9)
            assert row["pause_seconds"] >= 0


def test_accumulation_makes_one_record_of_all_micro_steps(watched: Any) -> None:
    for ring in watched.rings:
        assert [row["step"] for row in ring.steps] == list(range(1, STEPS + 1))
        assert {(row["micro_steps"], row["samples"], row["tokens"]) for row in ring.steps} == {(2, 4, 512)}


def test_loss_grad_norm_and_learning_rate_are_trainers_own(watched: Any) -> None:
    logged = [entry for entry in history(watched) if "loss" in entry]
    assert len(logged) == STEPS
    for entry, *rows in zip(logged, *(ring.steps for ring in watched.rings), strict=True):
        assert math.isclose(sum(row["loss"] for row in rows) / 2, entry["loss"], rel_tol=1e-5)
        for row in rows:
            assert math.isclose(row["grad_norm"], entry["grad_norm"], rel_tol=1e-6)
            assert row["learning_rate"] == entry["learning_rate"]


def test_evaluation_is_a_pause_and_no_part_of_a_step(watched: Any) -> None:
    (logged,) = [entry for entry in history(watched) if entry.get("step") == 6 and "eval_runtime" in entry]
    for ring in watched.rings:
        row = ring.steps[6]
        assert row["pause_seconds"] >= logged["eval_runtime"] * 0.9
        gap = row["monotonic"] - ring.steps[5]["monotonic"]
        assert math.isclose(gap, row["step_seconds"] + row["pause_seconds"], abs_tol=1e-6)
    evaluations = [event for event in watched.rings[0].events if event.kind == "evaluation"]
    assert [event.step for event in evaluations] == [6, 12, 12]
    assert evaluations[0].detail["metrics"]["eval_loss"] == logged["eval_loss"]


def test_times_of_ddp_are_unknown_until_torch_has_taken_them(watched: Any) -> None:
    for ring in watched.rings:
        compute = [row["ddp_compute_seconds"] for row in ring.steps]
        assert math.isnan(compute[0])  # shown in the pass after the one they belong to
        assert all(value > 0 for value in compute[1:10])
        assert all(math.isnan(value) for value in compute[10:])


def test_the_header_tells_what_took_effect(watched: Any) -> None:
    header = watched.rings[1].header
    assert header["effective"]["arguments"]["gradient_accumulation_steps"] == 2
    assert header["effective"]["ddp"]["bucket_cap_mb"] is None
    assert header["buckets"]["bucket_cap_bytes"] == 25 * 2**20
    assert header["parameters"] * 6 == header["flops_per_token"]
    assert set(header["libraries"]) == {"python", "torch", "transformers", "accelerate"}


def test_a_normal_run_saves_all_that_is_its_own(watched: Any) -> None:
    out = watched.directory / "out"
    assert (out / "model.safetensors").exists()
    assert (out / "checkpoint-12" / "model.safetensors").exists()
    assert watched.outcome["state"] == "finished"
    assert watched.outcome["metrics"]["eval_loss"] > 0


def test_watching_changes_no_digit(watched: Any, demo: Callable[[bool], Any]) -> None:
    bare = demo(False)
    assert bare.status == 0, bare.output

    def numbers(told: Any) -> list[dict[str, float]]:
        return [
            {k: v for k, v in entry.items() if "runtime" not in k and "second" not in k}
            for entry in history(told)
        ]

    assert numbers(watched) == numbers(bare)
    saved = [(told.directory / "out" / "model.safetensors").read_bytes() for told in (watched, bare)]
    assert saved[0] == saved[1]


WAITS = """
import time
class Slow(Numbers):
    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)

class Late(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if os.environ["RANK"] == "1":
            time.sleep(0.2)

args = arguments(max_steps=8, logging_steps=100)  # Trainer's own log gathers, and would take the wait upon itself
Trainer(model=model(), args=args, train_dataset=Slow(), callbacks=[Late()]).train()
"""


def test_a_slow_data_set_is_data_wait_and_a_late_rank_is_sync_wait(
    two_ranks: Callable[..., Any], tiny_job: str
) -> None:
    told = two_ranks(tiny_job + WAITS, "OUT")
    assert told.status == 0, told.output
    first, second = told.rings
    for ring in (first, second):
        # Loaders read ahead by one batch, so that the last step may find its data there.
        waited = [row["data_wait_seconds"] for row in ring.steps[:-1]]
        assert all(seconds >= 2 * 0.02 for seconds in waited)
    sync = [median(row["sync_wait_seconds"] for row in ring.steps[1:]) for ring in (first, second)]
    other = [median(row["other_seconds"] for row in ring.steps[1:]) for ring in (first, second)]
    assert sync[0] > sync[1]
    assert other[1] >= 0.2 > other[0]


ODD = """
import time
def probe():
    classifier = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.1)
    for _ in range(5):
        time.sleep(0.2)
        classifier(torch.randn(4, 8)).square().mean().backward()
        optimizer.step()

class Probes(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 2:
            probe()
    def on_log(self, args, state, control, **more):
        if state.global_step == 3:
            probe()

class Wraps(TrainerCallback):
    def on_train_begin(self, *_, **more):
        theirs = job.training_step
        job.training_step = lambda *args, **keywords: theirs(*args, **keywords)

class Full(Trainer):
    def training_step(self, model, inputs, *args, **keywords):
        if len(inputs["input_ids"]) > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().training_step(model, inputs, *args, **keywords)

callbacks = {"probes": [Probes()], "wraps": [Wraps()], "full": []}[sys.argv[2]]
given = dict(cls=Full) if sys.argv[2] == "full" else {}
changes = dict(auto_find_batch_size=True, per_device_train_batch_size=8) if sys.argv[2] == "full" else {}
job = trainer(args=arguments(**changes), callbacks=callbacks, **given)
job.train()
if sys.argv[2] == "wraps":
    job.train()
print("RESULT " + json.dumps([entry["loss"] for entry in job.state.log_history if "loss" in entry]))
"""


@pytest.fixture
def odd(attached: Callable[..., Any], tiny_job: str) -> Callable[[str], Any]:
    def run(which: str) -> Any:
        told = attached(tiny_job + ODD, which)
        assert told.status == 0, told.output
        (ring,) = told.rings
        return ring, told.printed()

    return run


def test_what_a_callback_trains_is_no_pass_of_the_job(odd: Callable[[str], Any]) -> None:
    ring, losses = odd("probes")
    assert [row["micro_steps"] for row in ring.steps] == [1, 1, 1, 1]
    assert {row["samples"] for row in ring.steps} == {2}
    assert [row["loss"] for row in ring.steps] == pytest.approx(losses, abs=1e-3)
    before_the_steps_end, after_it = ring.steps[1], ring.steps[3]
    assert before_the_steps_end["other_seconds"] >= 5 * 0.2 > before_the_steps_end["backward_seconds"]
    assert after_it["pause_seconds"] >= 5 * 0.2 > after_it["step_seconds"]


def test_a_wrapper_that_the_job_keeps_counts_nothing_twice(odd: Callable[[str], Any]) -> None:
    ring, losses = odd("wraps")
    assert [row["loss"] for row in ring.steps[4:]] == pytest.approx(losses[-4:], abs=1e-3)


def test_an_attempt_that_was_too_large_is_told_and_no_part_of_the_step(odd: Callable[[str], Any]) -> None:
    ring, _ = odd("full")
    told = [event.detail["samples"] for event in ring.events if event.kind == "oom"]
    assert told[0] == 8 and min(told) > 4
    assert [row["samples"] for row in ring.steps] == [4, 4, 4, 4]
    assert ring.event("end").detail["how"] == "finished"
