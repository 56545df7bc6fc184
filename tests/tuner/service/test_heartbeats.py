"""Continue or stop, asked over HTTP."""

from __future__ import annotations

import time

import pytest


def test_a_heartbeat_starts_the_run_and_goes_on(study):
    cluster = study()
    proposal = cluster.next()
    assert cluster.heartbeat(proposal)["action"] == "continue"
    assert cluster.view()["trials"][0]["runs"][0]["state"] == "running"


def test_a_nan_stops_the_run_and_is_the_cause_whatever_the_submitter_calls_it(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    cluster.windows(*ring_reports(proposal, steps=3, ended=False, kinds=("nan",)))
    decision = cluster.heartbeat(proposal)
    assert decision["action"] == "stop"
    assert "not finite at step 3" in decision["reason"]
    assert cluster.end(proposal, "pruned", "stopped")["outcome"] == "failed"
    run = cluster.view()["trials"][0]["runs"][0]
    assert (run["cause"], run["reason"]) == ("nan", decision["reason"])


def test_a_hopeless_trial_is_pruned_and_the_default_never(study, ring_reports):
    cluster = study()
    default = cluster.next()
    cluster.windows(*ring_reports(default, ended=False))
    assert cluster.heartbeat(default)["action"] == "continue"
    cluster.run(default)
    slow = cluster.next()
    cluster.windows(*ring_reports(slow, seconds=1.0, steps=4, ended=False))
    assert cluster.heartbeat(slow)["action"] == "continue"
    cluster.windows(*ring_reports(slow, seconds=1.0, first=4, steps=4, ended=False))
    decision = cluster.heartbeat(slow)
    assert decision["progress"] == {"step": 8.0, "steps": 12.0, "throughput": pytest.approx(16 / 1.1)}
    assert decision["action"] == "stop"
    assert "10% of the best" in decision["reason"]
    assert cluster.end(slow, "failed", "killed", exit_code=-15)["outcome"] == "pruned"
    assert cluster.view()["trials"][1]["state"] == "pruned"
    assert cluster.next()["trial"] == 2


def test_a_hang_is_a_failure(study, ring_reports):
    cluster = study(budget={"trials": 3, "hang_seconds": 0.2})
    proposal = cluster.next()
    cluster.windows(*ring_reports(proposal, steps=3, ended=False))
    while (decision := cluster.heartbeat(proposal))["action"] == "continue":
        time.sleep(0.05)
    assert "no step for" in decision["reason"]
    assert cluster.end(proposal, "failed", "killed")["outcome"] == "failed"
    assert cluster.view()["trials"][0]["runs"][0]["cause"] == "hang"


def test_a_run_past_its_last_step_does_not_hang(study, ring_reports):
    cluster = study(budget={"trials": 3, "hang_seconds": 0.001})
    proposal = cluster.next()
    cluster.windows(*ring_reports(proposal, ended=False))
    assert cluster.heartbeat(proposal)["action"] == "continue"


def test_a_cancelled_study_stops_its_runs(study):
    cluster = study()
    proposal = cluster.next()
    assert cluster.tuner.post(f"/v1/studies/{cluster.study}/cancel")["cancelled"] is True
    assert "cancelled on request" in cluster.heartbeat(proposal)["reason"]
    assert cluster.end(proposal, "interrupted", "interrupted")["outcome"] == "interrupted"
    assert cluster.ask()["done"] is True


def test_an_unknown_run_is_not_found(study):
    status, answer = study().tuner.call("POST", "/v1/runs/nobodys/heartbeat", {})
    assert (status, answer["error"]["code"]) == (404, "not_found")
