from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters import following
from paceline_exporters.attach import layout
from paceline_exporters.ranks import RECENT_STEPS
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.steps import SKIP_REASONS, StepsSource

Start = Callable[..., Any]
Watch = Callable[..., StepsSource]


@pytest.fixture
def watch(rings: Path) -> Iterator[Watch]:
    made: list[StepsSource] = []

    def make(**options: Any) -> StepsSource:
        world = World(rings=rings, node="node-a", peak_flops=options.pop("peak_flops", None))
        made.append(StepsSource(world, **options))
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


def test_phases_but_pause_add_up_and_parts_are_inside_them(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    phases = {"data_wait": 0.125, "sync_wait": 0.0625, "forward": 1.0, "backward": 2.0, "optimizer": 0.25}
    seconds = {f"{phase}_seconds": value for phase, value in {**phases, "other": 0.5, "pause": 8.0}.items()}
    parts = {"clip": 0.25, "compile": 1.5, "evaluation": 5.0, "checkpoint": 2.0}
    record = {**seconds, **{f"{part}_seconds": value for part, value in parts.items()}}
    writer.steps(step(1, **record, step_seconds=3.9375), step(2, **record, step_seconds=3.9375))
    found = seen(source)
    known = {
        name.rpartition(" ")[2]: value for name, value in found.items() if name.startswith("step_phase_seconds")
    }
    assert known.pop("pause") == 16.0
    assert sum(known.values()) == found["step_seconds_total run-1 0"]
    inside = {name.rpartition(" ")[2]: value for name, value in found.items() if name.startswith("step_part")}
    assert inside == {part: 2 * value for part, value in parts.items()}
    assert inside["clip"] <= known["other"]
    assert inside["evaluation"] + inside["checkpoint"] <= 16.0


def test_memory_and_the_gpu_s_own_times(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    times = {"gpu_forward_seconds": 0.25, "gpu_backward_seconds": 0.5, "gpu_step_seconds": 1.0}
    memory = {"gpu_memory_allocated_bytes": 3e9, "gpu_memory_reserved_bytes": 5e9, "gpu_memory_peak_bytes": 4e9}
    writer.steps(step(1, **times, **memory), step(2), step(3, **times))
    found = seen(source)
    assert found["step_gpu_phase_seconds_total run-1 0 forward"] == 0.5
    assert found["step_gpu_phase_seconds_total run-1 0 backward"] == 1.0
    assert "step_gpu_phase_seconds_total run-1 0 optimizer" not in found
    assert found["step_gpu_seconds_total run-1 0"] == 2.0
    assert found["step_gpu_memory_allocated_bytes run-1 0"] == 3e9, "as last sampled"
    assert found["step_gpu_memory_reserved_bytes run-1 0"] == 5e9
    assert found["step_gpu_memory_peak_bytes run-1 0"] == 4e9


def test_padding_is_a_share_of_the_steps_in_which_it_was_counted(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    writer.steps(step(1, real_tokens=384), step(2), step(3, real_tokens=512), step(4, real_tokens=9999))
    found = seen(source)
    assert found["step_counted_tokens_total run-1 0 real"] == 384 + 512
    assert found["step_counted_tokens_total run-1 0 padding"] == 128
    assert found["step_tokens_total run-1 0"] == 4 * 512


def test_skipped_steps_start_at_zero(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(), watch()
    assert seen(source)["step_optimizer_skipped_total run-1 0"] == 0
    writer.steps(step(1), step(2, optimizer_skipped=1.0), step(3))
    assert seen(source)["step_optimizer_skipped_total run-1 0"] == 1


def test_allocator_retries_add_up_over_attempts(trainer: Start, watch: Watch) -> None:
    first, source = trainer(), watch()
    name = "step_allocator_retries_total run-1 0"
    first.steps(step(1))
    assert name not in seen(source)
    first.steps(step(2, allocator_retries=0.0), step(3, allocator_retries=3.0), step(4))
    assert seen(source)[name] == 3
    first.steps(step(5, allocator_retries=4.0))
    assert seen(source)[name] == 4
    first.kill()
    second = trainer(attempt=1)
    second.steps(step(1, allocator_retries=2.0))
    assert seen(source)[name] == 6


MODEL = {"flops_per_token": 6e9, "gpu_name": "NVIDIA A10", "precision": {"autocast": "torch.bfloat16"}}


def test_work_and_how_much_of_the_peak_it_is(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(**MODEL), watch()
    writer.steps(*(step(number, tokens=1000, step_seconds=0.1) for number in range(1, 11)))
    found = seen(source)
    assert found["step_flops_total run-1 0"] == 10 * 1000 * 6e9
    assert found["rank_peak_flops run-1 0"] == 125e12
    assert found["rank_mfu_ratio run-1 0"] == pytest.approx(1000 * 6e9 / 0.1 / 125e12)
    writer.steps(*(step(number, tokens=1000, step_seconds=0.2) for number in range(11, 11 + RECENT_STEPS)))
    assert seen(source)["rank_mfu_ratio run-1 0"] == pytest.approx(1000 * 6e9 / 0.2 / 125e12)


def test_a_step_that_compiled_says_nothing_of_utilisation(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(**MODEL), watch()
    writer.steps(step(1, tokens=1000, step_seconds=60.0, compile_seconds=59.0))
    assert "rank_mfu_ratio run-1 0" not in seen(source)
    writer.steps(step(2, tokens=1000, step_seconds=0.1, compile_seconds=0.0))
    assert seen(source)["rank_mfu_ratio run-1 0"] == pytest.approx(1000 * 6e9 / 0.1 / 125e12)


def test_work_without_a_known_peak(trainer: Start, watch: Watch) -> None:
    writer, source, told = trainer(flops_per_token=6e9, gpu_name="Mystery"), watch(), watch(peak_flops=1e15)
    writer.steps(step(1, tokens=1000, step_seconds=0.1))
    found = seen(source)
    assert found["step_flops_total run-1 0"] == 6e12
    assert "rank_peak_flops run-1 0" not in found
    assert "rank_mfu_ratio run-1 0" not in found
    found = seen(told)
    assert found["rank_peak_flops run-1 0"] == 1e15
    assert found["rank_mfu_ratio run-1 0"] == pytest.approx(0.06)


def test_work_never_goes_down(trainer: Start, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOPs per token are known after the first step, and a second train() may be of a smaller model."""
    monkeypatch.setattr(following, "HEADER_SECONDS", 0.0)
    writer, source = trainer(), watch()
    writer.steps(step(1, tokens=1000))
    assert "step_flops_total run-1 0" not in seen(source)
    writer.header(flops_per_token=6e9)
    assert seen(source)["step_flops_total run-1 0"] == 6e12
    writer.header(flops_per_token=6e6)
    assert seen(source)["step_flops_total run-1 0"] == 6e12
    writer.steps(step(2, tokens=1000))
    assert seen(source)["step_flops_total run-1 0"] == 6e12 + 6e9


def norms(number: int, first: float) -> dict[str, float]:
    return step(number, samples=32, micro_steps=4, grad_norm=2.0, grad_norm_first_micro=first)


def test_noise_scale_of_all_ranks_here(trainer: Start, watch: Watch) -> None:
    writers, source = [trainer(rank=0), trainer(rank=1)], watch()
    assert not any("gradient" in name for name in seen(source))
    writers[0].steps(step(1), norms(2, first=2.0))
    found = seen(source)
    assert found["run_gradient_noise_steps_total run-1"] == 0, "the other rank has not told yet"
    assert found["step_grad_norm_first_micro run-1 0"] == 2.0
    writers[1].steps(step(1), norms(2, first=1.5))
    found = seen(source)
    # |G_small|^2 = ((4 x 2.0)^2 + (4 x 1.5)^2) / 2 = 50 over 8 samples, |G_big|^2 = 4 over 64
    signal, noise = (64 * 4 - 8 * 50) / (64 - 8), (50 - 4) / (1 / 8 - 1 / 64)
    assert found["run_gradient_signal run-1"] == pytest.approx(signal)
    assert found["run_gradient_noise run-1"] == pytest.approx(noise)
    assert found["run_gradient_noise_ranks run-1"] == 2
    assert found["run_gradient_noise_steps_total run-1"] == 1
    assert "run_gradient_noise_scale_samples run-1" not in found, "noise hides the signal"
    for writer in writers:
        writer.steps(*(norms(100 * number, first=0.7) for number in range(1, 6)))
    found = seen(source)
    assert found["run_gradient_noise_steps_total run-1"] == 6
    assert found["run_gradient_noise_scale_samples run-1"] == pytest.approx(
        found["run_gradient_noise run-1"] / found["run_gradient_signal run-1"]
    )


def test_noise_scale_of_one_node_of_two_knows_the_whole_batch(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(world_size=16), watch()
    writer.steps(norms(2, first=0.7))
    found = seen(source)
    assert found["run_gradient_noise_ranks run-1"] == 1
    assert found["run_gradient_noise run-1"] == pytest.approx((2.8**2 - 4) / (1 / 8 - 1 / (32 * 16)))


def test_the_last_failure_names_its_exception(trainer: Start, watch: Watch) -> None:
    first, source = trainer(), watch()
    assert not any("failure" in name for name in seen(source))
    first.event("oom", type="OutOfMemoryError", message="tried to allocate", samples=8)
    found = seen(source)
    assert found["rank_last_failure_info run-1 0 oom OutOfMemoryError"] == 1
    assert "rank_last_failure_step run-1 0" not in found, "it came before the first step"
    first.kill()
    second = trainer(attempt=1)
    second.steps(step(1))
    assert seen(source)["rank_last_failure_info run-1 0 oom OutOfMemoryError"] == 1, "why it was restarted"
    second.event("exception", step=7.0, type=["no", "text"])
    second.event("nan")
    found = seen(source)
    assert [name for name in found if name.startswith("rank_last_failure_info")] == [
        "rank_last_failure_info run-1 0 exception "
    ]
    assert found["rank_last_failure_step run-1 0"] == 7


def test_a_rank_has_a_bounded_number_of_series(trainer: Start, watch: Watch) -> None:
    writer, source = trainer(**MODEL), watch()
    writer.event("exception", step=1.0, type="ValueError")
    writer.steps(dict.fromkeys(layout.STEP_FIELDS, 1.0))
    assert sum(name.split(" ")[1:3] == ["run-1", "0"] for name in seen(source)) <= 90


def test_a_missing_directory_is_nothing_to_see(watch: Watch) -> None:
    assert not any("run-1" in name for name in seen(watch()))


def test_a_ring_that_ended_long_ago_is_not_shown(
    trainer: Start, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer().kill()
    later = time.time() + 1000
    monkeypatch.setattr(time, "time", lambda: later)
    assert not any("run-1" in name for name in seen(watch()))
