"""A throughput trial that did other work than the default run must not win."""

from __future__ import annotations

from typing import Any

import pytest

HOLD = {
    "hold_global_batch": True,
    "knobs": [
        {
            "name": "per_device_train_batch_size",
            "target": "arguments",
            "key": "per_device_train_batch_size",
            "kind": "choice",
            "effect": "numerics",
            "choices": [2, 4, 8, 16],
        }
    ],
}


def with_batch(reports: list[dict[str, Any]], batch: object, accumulation: object) -> list[dict[str, Any]]:
    arguments = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
    for ring in reports:
        ring["header"] = {"effective": {"arguments": arguments}}
    return reports


def test_a_batch_that_a_script_made_larger_is_rejected_with_both_numbers(study, ring_reports):
    cluster = study(budget={"trials": 3})
    cluster.run(cluster.next())
    larger = cluster.next()
    cluster.windows(*with_batch(ring_reports(larger, seconds=0.01), 64, 2))
    answer = cluster.end(larger)
    assert (answer["state"], answer["outcome"]) == ("closed", "rejected")
    assert "global batch was 256, the default run's 32" in answer["reason"]
    cluster.run(cluster.next(), seconds=0.2)
    view = cluster.view()
    assert [trial["state"] for trial in view["trials"]] == ["complete", "failed", "complete"]
    assert view["trials"][1]["value"] is None and len(view["trials"][1]["runs"]) == 1
    assert view["best"]["trial"] == 0


def test_one_rank_with_another_batch_is_enough(study, ring_reports):
    cluster = study(budget={"trials": 2})
    cluster.run(cluster.next())
    odd = cluster.next()
    reports = ring_reports(odd)
    with_batch(reports[1:], 16, 2)
    cluster.windows(*reports)
    assert cluster.end(odd)["outcome"] == "rejected"


def test_a_held_batch_in_other_pieces_is_the_same_work(study, ring_reports):
    cluster = study(budget={"trials": 3}, **HOLD)
    cluster.run(cluster.next())
    while (proposal := cluster.next()) is not None:
        batch, accumulation = proposal["arguments"].values()
        cluster.windows(*with_batch(ring_reports(proposal), batch, accumulation))
        assert cluster.end(proposal)["outcome"] == "finished"


def test_other_ranks_than_the_default_run_are_rejected_with_both_numbers(study):
    cluster = study(budget={"trials": 2})
    cluster.run(cluster.next())
    answer = cluster.run(cluster.next(), world_size=3, seconds=0.01)
    assert answer["outcome"] == "rejected"
    assert "3 ranks, the default run 2" in answer["reason"]
    assert cluster.view()["best"]["trial"] == 0


def test_a_pair_with_another_batch_counts_as_failed(study, ring_reports):
    proof = {"min_pairs": 6, "max_pairs": 6, "width": 0.05}
    cluster = study(budget={"trials": 2}, proof=proof)
    cluster.run(cluster.next())
    cluster.run(cluster.next(), seconds=0.05)
    cluster.run(cluster.next())
    pair = cluster.next()
    cluster.windows(*with_batch(ring_reports(pair), 64, 2))
    assert cluster.end(pair)["outcome"] == "rejected"
    again = cluster.next()
    assert (again["trial"], again["kind"]) == (pair["trial"], "pair")


def test_a_study_of_the_final_loss_may_change_the_batch(study, ring_reports):
    objective = {"kind": "final", "direction": "minimize", "metric": "eval_loss", "max_steps": 12}
    cluster = study(objective=objective, budget={"trials": 2})
    for batch in (8, 64):
        proposal = cluster.next()
        cluster.windows(*with_batch(ring_reports(proposal), batch, 1))
        assert cluster.end(proposal, metrics={"eval_loss": 1.0})["outcome"] == "finished"


@pytest.mark.parametrize("batch", [None, "8", 0, True])
def test_a_batch_that_nobody_can_tell_is_not_held_against_a_run(study, ring_reports, batch):
    cluster = study(budget={"trials": 2})
    cluster.run(cluster.next())
    proposal = cluster.next()
    cluster.windows(*with_batch(ring_reports(proposal), batch, 2))
    assert cluster.end(proposal)["outcome"] == "finished"
