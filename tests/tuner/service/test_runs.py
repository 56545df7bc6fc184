"""How runs begin, end, get lost and come back."""

from __future__ import annotations

import pytest


def trial(cluster, number=0):
    return cluster.view()["trials"][number]


def test_a_run_from_proposal_to_close(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    assert trial(cluster)["runs"][0]["state"] == "proposed"
    cluster.windows(*ring_reports(proposal, steps=5, ended=False))
    assert trial(cluster)["runs"][0]["state"] == "running"
    assert cluster.end(proposal)["state"] == "ending"
    cluster.windows(*ring_reports(proposal, first=5, steps=7))
    run = trial(cluster)["runs"][0]
    assert (run["state"], run["outcome"]) == ("closed", "finished")
    assert run["value"] == pytest.approx(16 / 0.11)
    assert run["summary"]["phases"]["forward_seconds"] == pytest.approx(0.1 / 3)
    assert run["summary"]["loss_first"] > run["summary"]["loss_last"]
    assert trial(cluster)["state"] == "complete"


def test_the_same_end_twice_is_answered_alike_and_a_later_word_changes_nothing(study):
    cluster = study()
    proposal = cluster.next()
    path = f"/v1/runs/{proposal['run_id']}/end"
    word = {"request_id": "r", "state": "failed", "reason": "oom", "detail": "CUDA out of memory"}
    assert cluster.tuner.post(path, word) == cluster.tuner.post(path, word)
    assert cluster.end(proposal)["outcome"] == "failed"
    assert len(trial(cluster)["runs"]) == 1


def test_an_end_without_all_ranks_fails_after_the_grace(start, study, ring_reports):
    cluster = study(start("--lease.ending", "0.5"))
    proposal = cluster.next()
    cluster.windows(*ring_reports(proposal, ranks=1))
    assert cluster.end(proposal)["state"] == "ending"
    view = cluster.until(lambda view: view["trials"][0]["runs"][0]["state"] == "closed")
    run = view["trials"][0]["runs"][0]
    assert (run["outcome"], run["cause"]) == ("failed", "partial")
    assert "1 of 2 ranks" in run["reason"]


def test_a_failure_is_tried_once_more_before_it_is_blamed(study):
    cluster = study()
    cluster.run(cluster.next())
    first = cluster.next()
    cluster.end(first, "failed", "crash", detail="exit status 1")
    second = cluster.next()
    assert (second["trial"], second["hash"]) == (first["trial"], first["hash"])
    assert second["run_id"] != first["run_id"]
    cluster.end(second, "failed", "oom", detail="out of memory at step 3")
    assert trial(cluster, 1)["state"] == "failed"
    assert trial(cluster, 1)["reason"] == "out of memory at step 3"
    assert cluster.next()["trial"] == 2


def test_an_interrupted_run_is_run_again_and_never_blamed(study):
    cluster = study()
    for _ in range(4):
        proposal = cluster.next()
        assert proposal["trial"] == 0
        cluster.end(proposal, "interrupted", "interrupted")
    cluster.run(cluster.next())
    assert trial(cluster)["state"] == "complete"


def test_a_rejected_configuration_is_not_tried_again(study):
    cluster = study()
    cluster.run(cluster.next())
    cluster.end(cluster.next(), "rejected", "rejected", code="not_effective", detail="bf16 did not take effect")
    assert trial(cluster, 1)["state"] == "failed"
    assert cluster.next()["trial"] == 2


def test_a_silent_run_is_lost_and_its_late_end_counts(start, study, ring_reports):
    cluster = study(start("--lease.running", "2"))
    proposal = cluster.next()
    cluster.heartbeat(proposal)
    view = cluster.until(lambda view: view["trials"][0]["runs"][0]["state"] == "closed")
    assert view["trials"][0]["runs"][0]["outcome"] == "lost"
    assert view["trials"][0]["state"] == "open"
    cluster.run(proposal)
    assert trial(cluster)["state"] == "complete"
    assert trial(cluster)["runs"][0]["outcome"] == "finished"
    assert "reopened" in [event["kind"] for event in cluster.log()]


def test_a_late_end_after_the_requeue_changes_nothing(start, study):
    cluster = study(start("--lease.proposed", "0.5"))
    first = cluster.next()
    cluster.until(lambda view: view["trials"][0]["runs"][0]["outcome"] == "lost")
    second = cluster.next()
    assert (second["trial"], second["run_id"] != first["run_id"]) == (0, True)
    cluster.run(first)
    assert [run["outcome"] for run in trial(cluster)["runs"]] in (["lost", None], ["lost", "lost"])
    assert cluster.heartbeat(first)["action"] == "stop"


def test_final_takes_the_metric_from_the_word_or_the_last_evaluation(study, ring_reports):
    objective = {"kind": "final", "direction": "minimize", "metric": "eval_loss", "max_steps": 12}
    cluster = study(objective=objective)
    proposal = cluster.next()
    assert proposal["harness"]["evaluate"] is True
    cluster.windows(*ring_reports(proposal))
    cluster.end(proposal, metrics={"eval_loss": 2.5})
    proposal = cluster.next()
    reports = ring_reports(proposal, kinds=("evaluation",))
    reports[0]["events"][0]["detail"] = {"metrics": {"eval_loss": 2.25}}
    cluster.windows(*reports)
    cluster.end(proposal)
    assert [entry["value"] for entry in cluster.view()["trials"]] == [2.5, 2.25]
    assert cluster.view()["best"]["trial"] == 1
