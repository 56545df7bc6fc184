"""Runs followed through real rings of real processes."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from played_runs import LONG_STEP_SECONDS, play
from ring_histories import Story

from paceline_agent.diagnosis.runs import FIELDS, Runs
from paceline_agent.diagnosis.source import DiagnosisSource
from paceline_agent.diagnosis.text import text
from paceline_exporters.attach import layout
from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.hang import HangWatch
from paceline_exporters.diagnosis.run import RunDiagnosis
from paceline_exporters.following import Followers, Mark
from paceline_exporters.metrics import Distribution, Renderer, exposition

SLOW = Story(1, ranks=2, step_seconds=LONG_STEP_SECONDS, fault="forward", slow_rank=1, by=0.2)


@pytest.fixture
def runs(rings: Path) -> Iterator[Runs]:
    one = Runs(Followers(rings), lambda _: {"cpu_pressure_ratio": 0.1})
    yield one
    one.close()


def doing(rings: Path, ring: str, **phases: float) -> None:
    """Write into a ring what its rank does: when it began each phase, seconds ago."""
    began = [0.0] * len(layout.PHASES)
    for phase, seconds in phases.items():
        began[layout.PHASES.index(phase)] = time.monotonic() - seconds
    with (rings / f"{ring}.ring").open("r+b") as file:
        file.seek(layout.SINCE_OFFSET)
        file.write(layout.SINCE.pack(*began))


def followed(rings: Path, trainer: Any) -> tuple[Followers, Runs, list[Any]]:
    """Two ranks that made 30 steps, and who has looked at them."""
    followers = Followers(rings)
    runs = Runs(followers, lambda _: {})
    ranks = [trainer(rank=0), trainer(rank=1)]
    play(ranks, Story(1, ranks=2, steps=30, step_seconds=0.05))
    runs.look()
    return followers, runs, ranks


def scraped(source: DiagnosisSource) -> str:
    return exposition([Renderer(source.families, 1000).render(source.sample())], "text").decode()


def test_a_run_that_was_there_before_the_agent_is_judged_on_all_its_ranks(runs: Runs, trainer: Any) -> None:
    play([trainer(rank=0), trainer(rank=1)], SLOW)
    (run,) = runs.look()
    assert run.diagnosis.stragglers.keys() == {1}
    told = runs.explain("run-1")
    assert told is not None
    assert (told.verdict.kind, told.verdict.findings[0].node) == ("straggler", "node-a")
    assert told.evidence[0] == {"cpu_pressure_ratio": 0.1}
    assert runs.explain("run-2") is None


def test_records_are_taken_as_they_come(runs: Runs, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    for first in range(1, 301, 30):
        play(ranks, SLOW, range(first, first + 30))
        runs.look()
    told = runs.explain("run-1")
    assert told is not None
    (blamed,) = (one for one in told.verdict.findings if one.kind == "straggler")
    assert (blamed.rank, blamed.phase) == (1, "forward")
    assert blamed.since_step == pytest.approx(100, abs=3)
    assert told.missing[0].startswith("No GPU was sampled") or "split" in told.missing[0]


def test_two_runs_are_two(runs: Runs, trainer: Any) -> None:
    play([trainer(rank=0), trainer(rank=1)], SLOW)
    play([trainer(rank=0, run_id="run-2", world_size=1)], Story(2, ranks=1, steps=30))
    assert [(one["run_id"], one["verdict"]) for one in runs.listing()] == []
    runs.look()
    listing = runs.listing()
    assert [(one["run_id"], one["ranks"], one["world_size"]) for one in listing] == [
        ("run-1", [0, 1], 2),
        ("run-2", [0], 1),
    ]
    assert listing[0]["verdict"] == "straggler"
    assert "Rank 1" in listing[0]["summary"]


def test_a_restart_begins_anew_and_keeps_counts(runs: Runs, trainer: Any) -> None:
    before = [trainer(rank=0), trainer(rank=1)]
    play(before, SLOW)
    runs.look()
    for one in before:
        one.kill()
    play([trainer(rank=0, attempt=1), trainer(rank=1, attempt=1)], Story(2, ranks=2, steps=40, step_seconds=0.5))
    (run,) = runs.look()
    assert run.attempt == 1
    assert run.diagnosis.stragglers == {}
    assert run.counts["straggler"] == 1
    assert sum(run.durations.counts) == 340


def test_a_restart_that_the_launcher_did_not_count_begins_anew_too(runs: Runs, trainer: Any) -> None:
    before = [trainer(rank=0), trainer(rank=1)]
    play(before, SLOW)
    runs.look()
    for one in before:
        one.kill()
    play([trainer(rank=0), trainer(rank=1)], Story(2, ranks=2, steps=40, step_seconds=0.5))
    (run,) = runs.look()
    told = runs.explain("run-1")
    assert told is not None
    assert (told.steps, told.alive, run.counts["straggler"]) == ((1, 40), True, 1)


def test_a_rank_that_is_restarted_alone_finds_the_others(runs: Runs, trainer: Any) -> None:
    ranks = [trainer(rank=rank, world_size=4) for rank in range(4)]
    slow = Story(1, ranks=4, step_seconds=0.5, fault="forward", slow_rank=1, by=0.3, onset=200)
    play(ranks, slow, range(1, 101))
    runs.look()
    ranks[3].kill()
    runs.look()
    ranks[3] = trainer(rank=3, world_size=4)
    play(ranks, slow, range(101, 301))
    (run,) = runs.look()
    assert sorted(run.ranks) == [0, 1, 2, 3]
    assert run.diagnosis.stragglers.keys() == {1}
    told = runs.explain("run-1")
    assert told is not None
    assert (told.unseen, [one.lost for one in told.ranks]) == ([], [False] * 4)
    (blamed,) = (one for one in told.verdict.findings if one.kind == "straggler")
    assert blamed.node == "node-a"


def test_files_outlive_their_processes_and_tell_how_they_ended(rings: Path, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    play(ranks, SLOW)
    ranks[1].event("exception", type="RuntimeError", message="no")
    for one in ranks:
        one.kill()
    runs = Runs(Followers(rings), lambda _: {}, keep_ended_seconds=math.inf)
    runs.look()
    told = runs.explain("run-1")
    runs.close()
    assert told is not None
    assert (told.alive, told.verdict.kind) == (False, "straggler")
    assert told.verdict.summary.startswith(
        "Rank 1 on node-a failed at step 300 (RuntimeError). Rank 0 on node-a "
    )
    assert [event.detail["type"] for event in told.ranks[1].events] == ["RuntimeError"]


def test_a_run_that_ended_is_forgotten(rings: Path, trainer: Any) -> None:
    one = trainer(rank=0)
    play([one], Story(1, ranks=1, steps=10))
    runs = Runs(Followers(rings), lambda _: {}, keep_ended_seconds=0.0)
    assert len(runs.look()) == 1
    one.kill()
    assert runs.look() == []
    runs.close()


def test_runs_that_ended_make_room_for_one_that_lives(
    rings: Path, trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs(Followers(rings), lambda _: {}, most_runs=3)
    trainers = {name: trainer(run_id=name, rank=0, world_size=1) for name in ("b", "c", "a")}
    for one in trainers.values():
        one.kill()
        runs.look()  # each ended at a time of its own
    trainers["d"] = trainer(run_id="d", rank=0, world_size=1)
    assert [run.run_id for run in runs.look()] == ["a", "c", "d"]
    trainers |= {name: trainer(run_id=name, rank=0, world_size=1) for name in ("e", "f")}
    assert [run.run_id for run in runs.look()] == ["d", "e", "f"]
    assert not caplog.records
    late = trainer(run_id="g", rank=0, world_size=1)
    for number in (1, 2):
        late.steps({"step": number, "step_seconds": 0.1})
        assert [run.run_id for run in runs.look()] == ["d", "e", "f"]
    assert [record.getMessage() for record in caplog.records] == [
        "3 runs live here: run 'g' and any other are not diagnosed"
    ]
    trainers["e"].kill()
    late.steps({"step": 3, "step_seconds": 0.1})
    runs.look()
    late.steps({"step": 4, "step_seconds": 0.1})
    assert [run.run_id for run in runs.look()] == ["d", "f", "g"]


def test_a_ring_that_is_removed_leaves_what_was_seen_of_it(runs: Runs, rings: Path, trainer: Any) -> None:
    play([trainer(rank=0), trainer(rank=1)], SLOW)
    runs.look()
    for file in rings.glob("*.ring"):
        file.unlink()
    runs.look()
    told, steps = runs.explain("run-1"), runs.steps("run-1", 10)
    assert told is not None
    assert (told.verdict.kind, told.alive) == ("straggler", False)
    assert steps == ([], {})


def test_steps_come_with_their_evidence_and_where_the_rank_is(runs: Runs, trainer: Any) -> None:
    play([trainer(rank=0), trainer(rank=1)], SLOW)
    runs.look()
    found = runs.steps("run-1", 5)
    assert found is not None
    reports, places = found
    windows = [report.window for report in reports if report.window is not None]
    assert [(window.first, window.last) for window in windows] == [(295, 299)] * 2
    assert windows[1].columns["step"] == [296.0, 297.0, 298.0, 299.0, 300.0]
    assert windows[0].evidence == {"cpu_pressure_ratio": 0.1}
    assert [places[rank].step for rank in (0, 1)] == [300, 300]
    assert runs.steps("run-2", 5) is None


def test_a_standstill_is_told_once_with_the_rings(rings: Path, trainer: Any) -> None:
    told: list[tuple[str, Finding, Mapping[int, Path]]] = []
    runs = Runs(Followers(rings), lambda _: {}, on_hang=lambda *what: told.append(what))
    ranks = [trainer(rank=0), trainer(rank=1)]
    play(ranks, Story(1, ranks=2, steps=30, step_seconds=0.05))
    for one in ranks:  # its latest step ended a minute ago
        one.steps({"step": 31, "step_seconds": 0.05, "monotonic": time.monotonic() - 60})
    source = DiagnosisSource(runs)
    assert 'paceline_run_hung{run_id="run-1"} 1' in scraped(source)
    assert 'paceline_run_findings_total{run_id="run-1",kind="hang"} 1' in scraped(source)
    ((run_id, finding, paths),) = told
    assert (run_id, finding.kind) == ("run-1", "hang")
    assert {path.stem for path in paths.values()} == {one.ring for one in ranks}
    ranks[0].event("end", how="finished")
    ranks[1].event("end", how="finished")
    assert 'paceline_run_hung{run_id="run-1"} 0' in scraped(source)
    source.close()


def test_a_standstill_in_the_first_step_is_told(runs: Runs, rings: Path, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    doing(rings, ranks[0].ring, forward=75, backward=70)
    doing(rings, ranks[1].ring, data_wait=76, forward=75)
    assert 'paceline_run_hung{run_id="run-1"} 1' in scraped(DiagnosisSource(runs))
    told = runs.explain("run-1")
    assert told is not None
    assert told.verdict.kind == "hung"
    assert re.fullmatch(
        r"Rank 1 has made no progress for \d+ s, in forward of its first step\.", told.verdict.summary
    )
    assert told.verdict.numbers == {}
    (finding,) = told.history
    assert (finding.rank, finding.phase, finding.since_step) == (1, "forward", 1)


def test_a_rank_that_was_killed_is_the_one_waited_for(runs: Runs, rings: Path, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    play(ranks, Story(1, ranks=2, steps=30, step_seconds=0.05))
    doing(rings, ranks[0].ring, backward=11)
    ranks[1].kill()
    runs.look()
    told = runs.explain("run-1")
    assert told is not None
    assert told.verdict.kind == "hung"
    assert told.verdict.summary.startswith("Rank 1 on node-a ended without a word at step 30 (killed?). ")
    answer = text(told)
    assert "steps 1 to 30, rank 1 ended without a word)" in answer
    assert "Events\n  rank 1 on node-a: ended without a word at step 30 (killed?)" in answer


def test_a_rank_whose_training_ended_was_not_killed(runs: Runs, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    play(ranks, Story(1, ranks=2, steps=30, step_seconds=0.05))
    for one in ranks:
        one.event("end", 30, how="finished")
        one.kill()
    runs.look()
    told = runs.explain("run-1")
    assert told is not None
    assert not any(one.lost for one in told.ranks)
    assert "without a word" not in text(told)


def test_a_rank_whose_end_somebody_else_saw_first_was_not_killed(rings: Path, trainer: Any) -> None:
    followers, runs, ranks = followed(rings, trainer)
    for one in ranks:
        one.event("end", 30, how="exit")
        one.kill()
    followers.look()  # another of its taps
    told = runs.explain("run-1")
    assert told is not None
    assert "without a word" not in text(told)
    assert "without a word" not in runs.listing()[0]["summary"]
    runs.look()
    told = runs.explain("run-1")
    assert told is not None
    assert (told.alive, "without a word" in text(told)) == (False, False)
    runs.close()


def test_who_is_said_to_be_lost_is_so_in_the_verdict_too(rings: Path, trainer: Any) -> None:
    followers, runs, ranks = followed(rings, trainer)
    for one in ranks:
        one.kill()
    for seen in (False, True):
        followers.look()
        told = runs.explain("run-1")
        assert told is not None
        lost = "ended without a word" in told.verdict.summary
        assert [one.lost for one in told.ranks] == [lost, lost] == [seen, seen]
        runs.look()
    runs.close()


def test_a_run_that_failed_does_not_look_well(runs: Runs, rings: Path, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    play(ranks, Story(1, ranks=2, steps=30, step_seconds=0.05))
    runs.look()
    for one, error in zip(reversed(ranks), ("ValueError", "RuntimeError"), strict=True):
        one.event("exception", 30, type=error, message="no")
        one.event("end", 30, how="exception")
        one.kill()
    runs.look()
    (entry,) = runs.listing()
    assert entry["summary"].startswith(
        "Rank 1 on node-a failed at step 30 (ValueError). Rank 0 on node-a failed at step 30 (RuntimeError). "
    )
    told = runs.explain("run-1")
    assert told is not None
    assert told.verdict.advice.startswith("Read the traceback of rank 1")
    for file in rings.glob("*.ring"):
        file.unlink()
    runs.look()
    assert runs.listing()[0]["summary"] == entry["summary"]


def test_a_loss_that_is_not_finite_is_in_the_verdict(runs: Runs, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    play(ranks, Story(1, ranks=2, steps=30, step_seconds=0.05))
    runs.look()
    for number in (13, 12):
        ranks[number - 12].event("nan", number, loss="nan")
    runs.look()
    runs.look()
    (entry,) = runs.listing()
    assert entry["summary"].startswith("Rank 0 on node-a met the first loss that is not finite at step 12. ")


def test_a_rank_that_has_not_said_what_it_does_is_where_its_ring_was_made(
    runs: Runs, rings: Path, trainer: Any
) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    doing(rings, ranks[0].ring, backward=5)
    runs.look()
    found = runs.steps("run-1", 1)
    assert found is not None
    places = found[1]
    assert (places[0].step, places[0].phase) == (0, "backward")
    assert (places[1].step, places[1].phase) == (0, "")
    assert 0.0 <= places[1].seconds < 60.0


def test_where_a_rank_is_comes_from_its_ring(runs: Runs, rings: Path, trainer: Any) -> None:
    one = trainer(rank=0, world_size=1)
    play([one], Story(1, ranks=1, steps=30))
    runs.look()
    found = runs.steps("run-1", 1)
    assert found is not None and found[1][0].phase == ""
    doing(rings, one.ring, forward=8, backward=7)
    runs.look()
    found = runs.steps("run-1", 1)
    assert found is not None
    place = found[1][0]
    assert (place.step, place.phase) == (30, "backward")
    assert place.seconds >= 7
    assert place.step_age is not None and 0.0 <= place.step_age < 60.0


def test_a_hostile_file_costs_itself_only(runs: Runs, rings: Path, trainer: Any) -> None:
    play([trainer(rank=0), trainer(rank=1)], SLOW)
    (rings / f"{7:032x}.ring").write_bytes(b"\xff" * 4096)
    trainer(rank=-7, run_id="run-3", world_size="many", attempt=[1], node=None)
    assert [run.run_id for run in runs.look()] == ["run-1", "run-3"]


def test_metrics_of_a_run(runs: Runs, trainer: Any) -> None:
    play([trainer(rank=0), trainer(rank=1)], SLOW)
    served = scraped(DiagnosisSource(runs))
    assert 'paceline_run_verdict{run_id="run-1",verdict="straggler"} 1' in served
    assert 'paceline_run_verdict{run_id="run-1",verdict="healthy"} 0' in served
    assert 'paceline_run_findings_total{run_id="run-1",kind="straggler"} 1' in served
    assert 'paceline_rank_straggler_ratio{run_id="run-1",rank="0"} 0.0' in served
    share = next(
        line for line in served.splitlines() if line.startswith("paceline_rank_straggler_r") and '"1"' in line
    )
    assert float(share.split()[1]) == pytest.approx(0.2, abs=0.05)
    info = [line for line in served.splitlines() if line.startswith("paceline_rank_straggler_info")]
    assert info == ['paceline_rank_straggler_info{run_id="run-1",rank="1",phase="forward",cause="compute"} 1']
    assert 'paceline_run_step_duration_seconds_count{run_id="run-1"} 300' in served


def test_durations_are_of_steps_not_of_ranks(runs: Runs, trainer: Any) -> None:
    ranks = [trainer(rank=0), trainer(rank=1)]
    for one in ranks:
        one.steps({"step": 1, "step_seconds": 0.3}, {"step": 2, "step_seconds": 7.0})
    (run,) = runs.look()
    assert isinstance(run.durations, Distribution)
    assert (sum(run.durations.counts), run.durations.sum) == (2, pytest.approx(7.3))


def test_the_fields_that_a_diagnosis_reads_are_few() -> None:
    assert len(FIELDS & frozenset(layout.STEP_FIELDS)) < len(layout.STEP_FIELDS)
    assert {"step", "step_seconds", "tokens", "backward_seconds"} <= FIELDS


def test_of_a_fast_job_some_steps_are_looked_at_and_rare_phases_are_learnt_from_all(
    rings: Path, trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, looked_at, learnt = Runs(Followers(rings), lambda _: {}), [], []
    add, learn = RunDiagnosis.add, HangWatch.learn

    def added(self: RunDiagnosis, rank: int, values: Mapping[str, float]) -> list[Finding]:
        looked_at.append(values["step"])
        return add(self, rank, values)

    def learned(self: HangWatch, values: Mapping[str, float]) -> None:
        learnt.append(values.get("evaluation_seconds"))
        learn(self, values)

    monkeypatch.setattr(RunDiagnosis, "add", added)
    monkeypatch.setattr(HangWatch, "learn", learned)
    writer = trainer()
    for begin in range(1, 1001, 200):
        times = {"step_seconds": 0.05, "forward_seconds": 0.04}
        late = {"evaluation_seconds": 3.0}
        writer.steps(*({"step": n, **times, **(late if n % 250 == 0 else {})} for n in range(begin, begin + 200)))
        runs.look()
    assert learnt.count(3.0) == 4
    assert 300 < len(looked_at) < 500  # all of the first 164, then one in four
    (run,) = runs.look()
    assert sum(run.durations.counts) == 1000


def test_steps_that_were_counted_before_are_judged_and_not_counted(
    rings: Path, trainer: Callable[..., Any]
) -> None:
    writer = trainer()
    writer.steps(*({"step": n, "step_seconds": 0.1} for n in range(1, 101)))
    followers = Followers(rings)
    (ring,) = rings.glob("*.ring")
    followers.counted = {ring.stem: Mark(record=90)}
    (run,) = Runs(followers, lambda _: {}).look()
    assert sum(run.durations.counts) == 10
    assert len(run.diagnosis.latest) >= 90


@pytest.mark.parametrize("wrong", [math.inf, 1e300, -1e300])
def test_a_step_number_that_is_none_holds_up_no_run(
    rings: Path, trainer: Callable[..., Any], wrong: float
) -> None:
    runs = Runs(Followers(rings), lambda _: {})
    good, bad = trainer(run_id="good", world_size=1), trainer(run_id="bad", world_size=1)
    for begin in (1, 201):  # so many that steps are left out
        for writer in (good, bad):
            writer.steps(*({"step": n, "step_seconds": 0.01} for n in range(begin, begin + 200)))
        runs.look()
    bad.steps({"step": wrong, "step_seconds": 0.01}, {"step": 401, "step_seconds": 0.01})
    good.steps(*({"step": n, "step_seconds": 0.01} for n in range(401, 501)))
    found = {run.run_id: run for run in runs.look()}
    assert sum(found["good"].durations.counts) == 500
    assert found["bad"].ranks[0].rows == []
