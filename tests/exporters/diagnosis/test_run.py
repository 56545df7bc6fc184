from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from ring_histories import Story, history

from paceline_exporters.diagnosis.endings import Ending
from paceline_exporters.diagnosis.hang import Progress
from paceline_exporters.diagnosis.run import RunDiagnosis


def diagnosed(story: Story, evidence: Mapping[int, Mapping[str, float]] | None = None) -> RunDiagnosis:
    diagnosis = RunDiagnosis(story.ranks)
    for rank in range(story.ranks):
        diagnosis.place(rank, f"node-{rank}")
        diagnosis.saw(rank, (evidence or {}).get(rank, {"gpu_throttled_ratio": 0.0}))
    for step in history(story):
        for rank, values in step.ranks.items():
            diagnosis.add(rank, values)
    return diagnosis


def test_a_straggler_is_the_verdict_while_it_lasts() -> None:
    told = diagnosed(Story(1, fault="data_wait", slow_rank=2)).verdict()
    assert told.kind == "straggler"
    assert told.summary.startswith("Rank 2 on node-2 costs ")
    assert "dataloader_num_workers" in told.knobs
    assert told.findings[0].cause == "data"


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"gpu_throttled_ratio": 0.4}, "throttled_gpu"),
        ({"gpu_foreign_processes": 1.0}, "noisy_neighbour"),
        ({"cpu_pressure_ratio": 0.7}, "noisy_neighbour"),
        ({"cpu_pressure_ratio": 0.1}, "compute"),
    ],
)
def test_the_node_names_the_cause_of_slow_work(seen: Mapping[str, float], cause: str) -> None:
    diagnosis = diagnosed(Story(1, fault="forward", slow_rank=1), {1: seen})
    finding = next(one for one in diagnosis.findings if one.kind == "straggler")
    assert (finding.rank, finding.cause) == (1, cause)
    assert all(finding.numbers[name] == value for name, value in seen.items() if cause != "compute")


def test_pressure_on_all_nodes_is_nobodys_excuse() -> None:
    pressed = {rank: {"cpu_pressure_ratio": 0.8} for rank in range(4)}
    diagnosis = diagnosed(Story(1, fault="forward", slow_rank=1), pressed)
    assert [one.cause for one in diagnosis.findings if one.kind == "straggler"] == ["compute"]


def test_slow_communication_is_blamed_on_the_port_with_errors() -> None:
    diagnosis = diagnosed(Story(1, fault="communication", by=0.2), {3: {"nic_errors_per_second": 50.0}})
    finding = next(one for one in diagnosis.findings if one.kind == "communication")
    assert (finding.cause, finding.rank, finding.node) == ("degraded_nic", 3, "node-3")
    told = diagnosis.verdict()
    assert told.kind == "communication_bound"
    assert "rank 3's node" in told.summary
    assert " s instead of 0.0" in told.summary


def test_a_standstill_comes_before_everything_and_ends() -> None:
    diagnosis = diagnosed(Story(1, fault="forward", slow_rank=1))
    stuck = {rank: Progress(300, "backward" if rank else "data_wait", 12.0) for rank in range(4)}
    hang = diagnosis.stands(stuck, everyone=True)
    assert hang is not None
    assert (hang.rank, hang.node) == (0, "node-0")
    assert diagnosis.stands(stuck, everyone=True) is None
    told = diagnosis.verdict()
    assert told.kind == "hung"
    assert told.summary == "Rank 0 has made no progress for 12 s, in data_wait."
    later = {rank: replace(place, seconds=3600.0) for rank, place in stuck.items()}
    assert diagnosis.stands(later, everyone=True) is None
    assert "for 3600 s" in diagnosis.verdict().summary
    assert diagnosis.stands({0: Progress(301, "forward", 0.1)}, everyone=True) is None
    assert diagnosis.verdict().kind == "straggler"


@pytest.mark.parametrize(
    ("phase", "summary"),
    [
        ("forward", "Rank 1 has made no progress for 80 s, in forward of its first step."),
        ("", "Rank 1 has not begun its first step for 80 s."),
    ],
)
def test_a_standstill_in_the_first_step_is_told_as_that(phase: str, summary: str) -> None:
    diagnosis = RunDiagnosis(2)
    places = {0: Progress(0, "backward", 79.0), 1: Progress(0, phase, 80.0)}
    assert diagnosis.stands(places, everyone=True) is not None
    told = diagnosis.verdict()
    assert (told.kind, told.summary, told.numbers) == ("hung", summary, {})
    diagnosis.stands({0: places[0]}, everyone=True, gone={1: Ending(0)})
    summary = diagnosis.verdict().summary
    assert summary.startswith("Rank 1 ended without a word before its first step (killed?). ")
    assert summary.endswith(" The others have waited for 79 s, in backward.")


def test_heat_on_every_gpu_is_throttling_and_no_straggler() -> None:
    told = diagnosed(Story(1), {rank: {"gpu_throttled_ratio": 0.3} for rank in range(4)}).verdict()
    assert told.kind == "throttled"
    assert "4 of 4" in told.summary


def test_a_job_that_computes_is_compute_bound() -> None:
    told = diagnosed(Story(1)).verdict()
    assert told.kind == "compute_bound"
    assert told.numbers["compute_share"] == pytest.approx(0.85, abs=0.03)


def alone(story: Story, world_size: int) -> RunDiagnosis:
    """One rank of a run whose backward is not split, as without DDP."""
    diagnosis = RunDiagnosis(1)
    diagnosis.expect(1, world_size)
    for step in history(replace(story, ranks=1, backward_split=False)):
        left_out = ("ddp_compute_seconds", "ddp_exposed_seconds")
        diagnosis.add(0, {name: value for name, value in step.ranks[0].items() if name not in left_out})
    return diagnosis


def test_a_process_of_its_own_that_computes_is_compute_bound() -> None:
    told = alone(Story(1), world_size=1).verdict()
    assert told.kind == "compute_bound"
    assert told.numbers["compute_share"] == pytest.approx(0.93, abs=0.02)
    assert "torch_compile" in told.knobs


def test_an_undivided_backward_of_one_rank_of_many_may_be_waiting() -> None:
    told = alone(Story(1), world_size=2).verdict()
    assert told.kind == "healthy"
    assert told.numbers["compute_share"] < 0.5


def seen_of(story: Story, ranks: tuple[int, ...]) -> RunDiagnosis:
    """What an agent makes of the ranks on its node."""
    diagnosis = RunDiagnosis(len(ranks))
    diagnosis.expect(len(ranks), story.ranks)
    for step in history(story):
        for rank in ranks:
            diagnosis.add(rank, step.ranks[rank])
    return diagnosis


LATE_ELSEWHERE = Story(1, ranks=4, steps=300, fault="forward", slow_rank=3, by=0.4, onset=5)


@pytest.mark.parametrize("ranks", [(0,), (0, 1)])
def test_who_waits_for_ranks_that_are_not_seen_or_for_the_network_is_not_well(ranks: tuple[int, ...]) -> None:
    told = seen_of(LATE_ELSEWHERE, ranks).verdict()
    assert told.kind == "communication_bound"
    share = told.numbers["communication_share"]
    assert share == pytest.approx((0.4 + 0.08) / 1.4, abs=0.04)
    assert told.summary == (
        f"The ranks seen here wait for {share:.0%} of the step, for other ranks or for the network: the other "
        "nodes' agents tell which."
    )
    assert "--agent URL --agent URL" in told.advice
    assert told.knobs == ()


def test_all_ranks_tell_who_is_waited_for() -> None:
    assert seen_of(LATE_ELSEWHERE, (0, 1, 2, 3)).verdict().kind == "straggler"
    assert "batches" in seen_of(Story(1, ranks=2, communication=0.5), (0, 1)).verdict().advice


def test_waiting_that_grew_is_not_laid_to_the_network_where_ranks_are_not_seen() -> None:
    story = replace(LATE_ELSEWHERE, onset=100, steps=130)
    told = seen_of(story, (0, 1)).verdict()
    assert "unknown" in [one.cause for one in told.findings if one.kind == "communication"]
    assert " of the step (since step 100 0.1" in told.summary
    assert told.summary.endswith(
        " of the step more), for other ranks or for the network: the other nodes' agents tell which."
    )
    diagnosis = seen_of(story, (0, 1))
    diagnosis.saw(1, {"nic_errors_per_second": 50.0})
    told = diagnosis.verdict()
    assert "cause: degraded nic on rank 1's node" in told.summary
    assert told.advice.startswith("Look at the network first")


def test_a_network_that_became_slower_is_the_cause_where_all_ranks_are_seen() -> None:
    diagnosis = seen_of(Story(1, ranks=2, fault="communication", by=0.3, steps=130), (0, 1))
    assert "cause: communication" in diagnosis.verdict().summary
    diagnosis.expect(2, 4)
    assert "cause" not in diagnosis.verdict().summary
    diagnosis.expect(4, 4)
    assert "cause: communication" in diagnosis.verdict().summary


def test_a_rank_of_its_own_waits_for_nobody() -> None:
    diagnosis = RunDiagnosis(1)
    diagnosis.expect(1, 1)
    for step in history(Story(1, ranks=1, communication=0.5)):
        diagnosis.add(0, step.ranks[0])
    assert "communication_share" not in diagnosis.verdict().numbers


def test_a_regression_holds_with_its_numbers_and_what_the_nodes_see() -> None:
    story = Story(1, ranks=1, steps=600, fault="forward", onset=200, by=0.3)
    diagnosis = alone(story, world_size=1)
    diagnosis.saw(0, {"tcp_retransmits_per_second": 40.0})
    told = diagnosis.verdict()
    (finding,) = told.findings
    assert (finding.kind, finding.cause, finding.rank) == ("regression", "degraded_nic", 0)
    assert finding.share == pytest.approx(0.3 / 1.3, abs=0.03)
    assert finding.numbers["normal_seconds"] == pytest.approx(0.2, rel=0.05)
    assert finding.numbers["tcp_retransmits_per_second"] == 40.0
    assert told.kind == "compute_bound"
    assert f"before step {finding.since_step}" in told.summary
    assert f"errors began at about step {finding.since_step}" in told.advice


def test_a_regression_with_a_reason_does_not_hide_it() -> None:
    told = diagnosed(Story(1, steps=400, fault="data_wait", slow_rank=2)).verdict()
    assert {one.kind for one in told.findings} == {"straggler", "regression"}
    assert told.summary.startswith("Rank 2 on node-2 costs ")
    assert "before step" not in told.summary


def test_a_job_that_waits_for_its_data_is_data_bound() -> None:
    diagnosis = RunDiagnosis(2)
    for step in history(Story(1, ranks=2)):
        for rank, values in step.ranks.items():
            more = {name: values[name] + 0.1 for name in ("data_wait_seconds", "step_seconds")}
            diagnosis.add(rank, {**values, **more})
    assert diagnosis.verdict().kind == "data_bound"


def test_too_few_steps_say_nothing() -> None:
    assert diagnosed(replace(Story(1), steps=3)).verdict().kind == "unknown"


def test_a_second_training_in_the_same_processes_is_diagnosed_as_well() -> None:
    diagnosis = diagnosed(Story(1))
    for step in history(Story(2, steps=150, fault="forward", slow_rank=1, onset=50)):
        for rank, values in step.ranks.items():
            diagnosis.add(rank, values)
    assert (diagnosis.latest[0].number, diagnosis.latest[-1].number) == (51, 150)
    (finding,) = (one for one in diagnosis.findings if one.kind == "straggler")
    assert (finding.rank, finding.phase) == (1, "forward")
    assert 50 <= finding.found_step <= 60
    assert diagnosis.verdict().kind == "straggler"


def test_what_a_straggler_costs_is_the_sum_of_its_phases() -> None:
    diagnosis = diagnosed(Story(1, fault="compute", slow_rank=1, by=0.3))
    assert diagnosis.stragglers == {1: pytest.approx(0.3 / 1.3, abs=0.02)}
    assert "most of all in backward" in diagnosis.verdict().summary


def test_the_mean_step_is_told_where_some_are_much_longer() -> None:
    story = Story(1, ranks=1, steps=300, fault="other", every=10, by=0.1, onset=20)
    numbers = alone(story, world_size=1).verdict().numbers
    assert numbers["mean_step_seconds"] == pytest.approx(1.1 * numbers["step_seconds"], rel=0.03)
    assert "mean_step_seconds" not in diagnosed(Story(1)).verdict().numbers


def test_a_loop_that_is_busy_with_none_of_its_phases_is_told_so() -> None:
    told = alone(Story(1, fault="other", onset=20, by=0.8), world_size=1)
    assert told.shares is not None and told.shares.other > 0.4
    diagnosis = diagnosed(Story(1, ranks=2))
    for step in history(Story(2, ranks=2)):
        for rank, values in step.ranks.items():
            more = {name: values[name] + 0.16 for name in ("other_seconds", "step_seconds")}
            diagnosis.add(rank, {**values, **more})
    verdict = diagnosis.verdict()
    assert verdict.kind == "other_bound"
    assert "45% of the step" in verdict.summary
    assert "callbacks" in verdict.advice


def test_longer_batches_of_one_rank_are_a_matter_of_balance() -> None:
    told = diagnosed(Story(1, longer_rank=2)).verdict()
    assert (told.kind, told.findings[0].cause) == ("straggler", "longer_batches")
    assert "balance lengths" in told.advice


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, 1e308])
def test_values_that_are_no_amounts_count_as_unknown(bad: float) -> None:
    diagnosis = RunDiagnosis(4)
    names = ["step", "tokens", "step_seconds", "forward_seconds", "backward_seconds", "backward_compute_seconds"]
    for step in history(Story(1, steps=400, fault="forward", slow_rank=1, onset=200, by=0.3)):
        for rank, values in step.ranks.items():
            wrong = {names[step.number % len(names)]: bad} if (step.number + rank) % 7 == 0 else {}
            diagnosis.add(rank, {**values, **wrong})
    (finding,) = (one for one in diagnosis.findings if one.kind == "straggler")
    assert (finding.rank, finding.phase) == (1, "forward")
    numbers = diagnosis.verdict().numbers
    assert all(0.0 <= value < 10.0 for value in numbers.values())


CALM = {
    "gpu_throttled_ratio": 0.0,
    "gpu_power_capped_ratio": 0.1,
    "nic_congestion_per_second": 20.0,
    "nic_errors_per_second": 0.0,
    "cpu_pressure_ratio": 0.05,
    "cpu_steal_ratio": 0.0,
}


def changing(
    story: Story, seen: Mapping[str, float], ranks: tuple[int, ...], nodes: tuple[int, ...]
) -> RunDiagnosis:
    """What the nodes of these ranks see changes with the fault."""
    diagnosis = RunDiagnosis(story.ranks)
    for step in history(story):
        for rank, values in step.ranks.items():
            diagnosis.place(rank, f"node-{nodes[rank]}")
            diagnosis.saw(rank, {**CALM, **(seen if rank in ranks and step.number >= story.onset else {})})
            diagnosis.add(rank, values)
    return diagnosis


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"gpu_throttled_ratio": 0.5}, "throttled_gpu"),
        ({"gpu_power_capped_ratio": 0.9}, "power_capped_gpu"),
        ({"nic_congestion_per_second": 5e4}, "congested_network"),
        ({"nic_errors_per_second": 500.0}, "degraded_nic"),
        ({"cpu_pressure_ratio": 0.9, "cpu_steal_ratio": 0.4}, "noisy_neighbour"),
        ({}, "unknown"),
    ],
)
def test_what_changed_on_all_nodes_explains_why_all_became_slower(seen: Mapping[str, float], cause: str) -> None:
    story = replace(Story(1, ranks=4, steps=500, onset=200, by=0.3), fault="communication")
    diagnosis = changing(story, seen, ranks=(0, 1, 2, 3), nodes=(0, 1, 2, 3))
    finding = next(one for one in diagnosis.findings if one.kind == "regression")
    assert (finding.cause, finding.rank) == (cause, None)
    assert seen.items() <= finding.numbers.items()


@pytest.mark.parametrize("nodes", [(0, 0, 0, 0), (0, 1, 1, 1), (0, 0, 1, 1)])
def test_a_port_that_went_bad_is_named_however_many_ranks_sit_on_its_node(nodes: tuple[int, ...]) -> None:
    story = Story(1, ranks=4, steps=400, onset=200, fault="communication", by=0.3)
    bad = tuple(rank for rank in range(4) if nodes[rank] == nodes[3])
    diagnosis = changing(story, {"nic_errors_per_second": 500.0}, bad, nodes)
    finding = next(one for one in diagnosis.findings if one.kind == "communication")
    assert (finding.cause, finding.node) == ("degraded_nic", f"node-{nodes[3]}")


def test_where_a_loop_reads_its_data_by_itself_the_verdict_does_not_say_that_it_waits_for_none() -> None:
    diagnosis = RunDiagnosis(1)
    diagnosis.expect(1, 1)
    for number in range(1, 60):
        diagnosis.add(0, {"step": number, "step_seconds": 0.1, "forward_seconds": 0.06, "backward_seconds": 0.04})
    told = diagnosis.verdict()
    assert told.kind == "compute_bound"
    assert "where the loop reads its data by itself, that may be part of it" in told.summary
    assert "data_share" not in told.numbers


def test_a_rank_whose_loop_is_slow_between_its_phases_is_not_to_be_taken_out() -> None:
    told = diagnosed(Story(1, fault="other", slow_rank=2, by=0.2)).verdict()
    assert told.summary.startswith("Rank 2 on node-2 costs ")
    assert "slower than the others in other" in told.summary
    assert "data that it reads by itself" in told.advice
    assert "take the node out" not in told.advice


def test_a_loader_that_is_asked_now_and_then_holds_up_the_mean_step_and_not_all() -> None:
    """Several steps on one batch: those that fetch none do not wait for the loader."""
    diagnosis = RunDiagnosis(1)
    diagnosis.expect(1, 1)
    for number in range(1, 101):
        values = {"step": number, "step_seconds": 0.5, "forward_seconds": 0.2, "backward_seconds": 0.28}
        fetched = {"step_seconds": 0.65, "data_wait_seconds": 0.15} if number % 10 == 0 else {}
        diagnosis.add(0, values | fetched)
    told = diagnosis.verdict()
    assert (told.kind, told.numbers["data_share"]) == ("compute_bound", 0.0)
