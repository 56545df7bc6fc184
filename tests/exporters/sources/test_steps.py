from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach import layout
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.steps import SKIP_REASONS, StepsSource

Start = Callable[..., Any]
Watch = Callable[..., StepsSource]


@pytest.fixture
def watch(rings: Path) -> Iterator[Watch]:
    made: list[StepsSource] = []

    def make(**options: Any) -> StepsSource:
        made.append(StepsSource(World(rings=rings, node="node-a"), **options))
        return made[-1]

    yield make
    for source in made:
        source.close()


def seen(source: StepsSource) -> dict[str, Any]:
    """`name label label` -> value, of what is known."""
    return {
        " ".join((family.name.removeprefix("paceline_"), *labels)): value
        for family, points in source.sample().points.items()
        for labels, value in points.items()
        if isinstance(value, int | float) and not math.isnan(value)
    }


def step(number: int, **values: float) -> dict[str, float]:
    return {
        "step": number,
        "wall": 1000.0 + number,
        "samples": 4,
        "tokens": 512,
        "loss": 2.0,
        "learning_rate": 1e-3,
        "step_seconds": 0.5,
        "data_wait_seconds": 0.125,
        "forward_seconds": 0.25,
        **values,
    }


def test_steps_become_counters_and_gauges(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    writer.steps(step(1), step(2, loss=1.5))
    found = seen(source)
    assert found["steps_total run-1 0"] == 2
    assert found["step_samples_total run-1 0"] == 8
    assert found["step_tokens_total run-1 0"] == 1024
    assert found["step_seconds_total run-1 0"] == 1.0
    assert found["step_phase_seconds_total run-1 0 data_wait"] == 0.25
    assert found["step_phase_seconds_total run-1 0 forward"] == 0.5
    assert found["step_number run-1 0"] == 2
    assert found["step_timestamp_seconds run-1 0"] == 1002
    assert found["step_loss run-1 0"] == 1.5
    assert found["step_loss_finite run-1 0"] == 1
    assert found["ring_alive run-1 0"] == 1


def test_what_is_unknown_is_absent(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    writer.steps(step(1))
    found = seen(source)
    assert "step_phase_seconds_total run-1 0 backward" not in found
    assert "step_grad_norm run-1 0" not in found
    assert "step_ddp_seconds run-1 0 comm" not in found


def test_events_of_every_kind_start_at_zero(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    assert {seen(source)[f"step_events_total run-1 0 {kind}"] for kind in layout.EVENT_KINDS} == {0}
    writer.event("oom", message="no memory")
    writer.event("from_the_future")
    found = seen(source)
    assert found["step_events_total run-1 0 oom"] == 1
    assert found["step_events_total run-1 0 other"] == 1


def test_nothing_new_gives_the_same_samples(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    writer.steps(step(1))
    first = source.sample()
    assert source.sample() is first
    writer.steps(step(2))
    assert source.sample() is not first


def test_a_loss_that_is_no_number_stays_visible(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    writer.steps(step(1))
    writer.steps(step(2, loss=None))  # type: ignore[arg-type] # unknown, as a GPU's may be for one step
    assert seen(source)["step_loss run-1 0"] == 2.0
    writer.event("nan")
    found = seen(source)
    assert found["step_loss_finite run-1 0"] == 0
    assert "step_loss run-1 0" not in found
    writer.steps(step(3))
    assert seen(source)["step_loss_finite run-1 0"] == 1


def test_counters_go_on_when_the_ring_wraps(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    writer.steps(step(1))
    source.sample()
    writer.steps(*(step(number) for number in range(2, layout.STEP_CAPACITY + 102)))
    found = seen(source)
    assert found["steps_total run-1 0"] == layout.STEP_CAPACITY + 1
    assert found["step_records_lost_total run-1 0"] == 100
    assert found["step_number run-1 0"] == layout.STEP_CAPACITY + 101


def test_counters_go_on_when_the_rank_restarts(trainer: Start, watch: Watch) -> None:
    first, source = trainer(), watch()
    first.steps(step(1), step(2))
    source.sample()
    first.kill()
    assert seen(source)["ring_alive run-1 0"] == 0
    second = trainer(attempt=1)
    second.steps(step(1, loss=9.0))
    found = seen(source)
    assert found["steps_total run-1 0"] == 3
    assert found["step_number run-1 0"] == 1
    assert found["step_loss run-1 0"] == 9.0
    assert found["ring_alive run-1 0"] == 1
    assert found["run_info run-1    2 node-a 1  "] == 1


def test_info_series(trainer: Start, watch: Watch) -> None:
    libraries = {"torch": "2.13.0", "transformers": "5.23.0"}
    trainer(study="s", trial=3, kind="trial", libraries=libraries, parameters=1000, flops_per_token=6000.0)
    trainer(study="s", trial=3, kind="trial", libraries=libraries, rank=1, local_rank=1, device="cuda:1")
    found = seen(watch())
    assert found["run_info run-1 s 3 trial 2 node-a 0 2.13.0 5.23.0"] == 1
    assert found["rank_info run-1 1 1 cuda:1 node-a"] == 1
    assert found["run_world_size run-1"] == 2
    assert found["run_parameters run-1"] == 1000
    assert found["run_flops_per_token run-1"] == 6000


def test_a_run_that_ended_stays_for_a_while(trainer: Start, watch: Watch) -> None:
    writer, source, short = trainer(), watch(), watch(keep_ended_seconds=0.0)
    writer.steps(step(1))
    assert seen(source)["steps_total run-1 0"] == seen(short)["steps_total run-1 0"] == 1
    writer.kill()
    found = seen(source)
    assert (found["steps_total run-1 0"], found["ring_alive run-1 0"]) == (1, 0)
    assert "steps_total run-1 0" not in seen(short)


def test_a_rank_trains_until_train_ends(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    training = "rank_training run-1 0"
    assert seen(source)[training] == 1
    writer.event("first_step")
    writer.event("end", how="finished")
    found = seen(source)
    assert (found[training], found["ring_alive run-1 0"]) == (0, 1), "the process goes on without training"
    writer.event("checkpoint")
    assert seen(source)[training] == 0
    writer.event("first_step")
    assert seen(source)[training] == 1, "train() was called once more"
    writer.kill()
    assert seen(source)[training] == 0


def test_a_ring_whose_run_has_no_name_yet_waits(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(run_id=None), watch()
    writer.steps(step(1))
    assert not any(name.startswith("steps_total") for name in seen(source))
    writer.header(run_id="later")
    assert seen(source)["steps_total later 0"] == 1


def test_too_many_ranks_are_dropped_and_counted(trainer: Start, watch: Watch) -> None:
    for rank in range(3):
        trainer(rank=rank)
    source = watch(most_ranks=2)
    found = seen(source)
    assert sum(name.startswith("ring_alive") for name in found) == 2
    assert found["rings_dropped_total"] == 1
    assert seen(source)["rings_dropped_total"] == 1, "a ring is counted once, not at each look"


def test_files_that_are_no_rings_are_counted_once(rings: Path, trainer: Start, watch: Watch) -> None:
    writer = trainer()
    (rings / f"{'0' * 32}.ring").write_bytes(b"x")
    (rings / f"{'1' * 32}.ring").symlink_to(rings / f"{writer.ring}.ring")
    os.mkfifo(rings / f"{'2' * 32}.ring")
    source = watch()
    seen(source)
    found = seen(source)
    assert sum(found[f"ring_files_skipped_total {reason}"] for reason in SKIP_REASONS) == 3
    assert found["ring_alive run-1 0"] == 1


def test_hostile_headers_and_values(trainer: Start, watch: Watch) -> None:
    writer = trainer(run_id='a"\n' * 100, rank="zero", world_size=10**400, parameters="many", study={"deep": [1]})
    writer.steps(step(1, tokens=-5.0, samples=math.inf))
    [name] = [name for name in seen(watch()) if name.startswith("steps_total")]
    assert len(name) < 150
    assert not any("tokens_total" in name for name in seen(watch()))


def test_a_missing_directory_is_nothing_to_see(watch: Watch) -> None:
    assert not any("run-1" in name for name in seen(watch()))


def test_a_ring_that_ended_long_ago_is_not_shown(
    trainer: Start, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer().kill()
    later = time.time() + 1000
    monkeypatch.setattr(time, "time", lambda: later)
    assert not any("run-1" in name for name in seen(watch()))
