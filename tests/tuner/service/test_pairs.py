"""The proof's order and its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paceline_tuner.service.pairs import Busy, Next, PairRun, Verdict, plan
from paceline_tuner.study.spec import Proof

PROOF = Proof(min_pairs=6, max_pairs=8, width=0.05)


def play(outcomes, proof=PROOF):
    """Run the whole proof; `outcomes(next, number)` gives (standing, value). Returns runs and verdict."""
    runs = []
    while isinstance(found := plan(runs, proof, "maximize"), Next):
        standing, value = outcomes(found, len(runs))
        runs.append(PairRun(found.pair, found.side, standing, value))
    return runs, found


def values(found, number):
    return "finished", {"default": 100.0, "candidate": 120.0}[found.side] + number % 3 * 0.1


def test_pairs_alternate_and_stop_when_the_interval_is_narrow():
    runs, verdict = play(values)
    assert "".join(run.side[0] for run in runs) == "dccd" * 3
    assert isinstance(verdict, Verdict)
    assert verdict.interval.pairs == 6
    assert verdict.interval.verdict == "use this"


def test_a_wide_interval_goes_on_to_the_last_pair():
    runs, verdict = play(lambda found, number: ("finished", 100.0 + number * 37 % 90))
    assert len(runs) == 16
    assert verdict.interval.verdict == "keep your default"


def test_one_run_at_a_time():
    assert isinstance(plan([PairRun(0, "default", "open")], PROOF, "maximize"), Busy)


def test_a_failed_run_is_repeated_once_and_an_interrupted_one_always():
    failed, interrupted = PairRun(0, "default", "failed"), PairRun(0, "default", "interrupted")
    assert plan([interrupted, interrupted, failed], PROOF, "maximize") == Next(0, "default")
    assert plan([failed, failed], PROOF, "maximize") == Next(1, "candidate")


def test_a_candidate_that_always_fails_ends_the_proof():
    runs, verdict = play(lambda found, n: values(found, n) if found.side == "default" else ("failed", None))
    assert verdict.interval is None
    assert verdict.dropped == 3
    assert len(runs) < 12


def test_values_without_a_ratio_give_no_interval():
    _, verdict = play(lambda found, number: ("finished", -1.0))
    assert verdict.interval is None


@given(st.lists(st.sampled_from(["finished", "failed", "interrupted"]), min_size=400, max_size=400))
def test_every_proof_ends_and_drops_only_what_failed_twice(standings):
    runs, verdict = play(lambda found, n: (standings[n] if n < 400 else "finished", values(found, n)[1]))
    assert isinstance(verdict, Verdict)
    assert len(verdict.default) + verdict.dropped <= PROOF.max_pairs
    for pair in range(PROOF.max_pairs):
        mine = [run for run in runs if run.pair == pair]
        assert sum(run.standing == "failed" for run in mine) <= 3
