"""What stored windows say of a run, over HTTP."""

from __future__ import annotations

import subprocess
import sys

from ring_histories import Story, history


def told(study, ring_reports, story):
    """A run whose two ranks went through the story, each on a node of its own; posted in pieces."""
    cluster = study()
    proposal = cluster.next()
    steps = list(history(story))
    for first in range(0, len(steps), 100):
        piece = steps[first : first + 100]
        reports = ring_reports(proposal, first=first, steps=len(piece), ended=False)
        for rank, report in enumerate(reports):
            report["node"] = f"node-{rank}"
            columns = {name: [step.ranks[rank][name] for step in piece] for name in NAMES}
            evidence = {"gpu_throttled_ratio": 0.4 if rank == story.slow_rank else 0.0}
            report["window"] |= {"columns": columns, "evidence": evidence}
        cluster.windows(*reports)
    return cluster, proposal["run_id"]


NAMES = (
    *("step", "tokens", "step_seconds", "data_wait_seconds", "forward_seconds", "backward_seconds"),
    *("optimizer_seconds", "other_seconds", "backward_compute_seconds"),
)


def test_a_slow_rank_is_named_with_its_node_and_its_cause(study, ring_reports):
    story = Story(1, ranks=2, step_seconds=0.5, fault="forward", slow_rank=1, by=0.2)
    cluster, run_id = told(study, ring_reports, story)
    found = cluster.tuner.get(f"/v1/runs/{run_id}/explain")
    assert found["verdict"]["kind"] == "straggler"
    worst = found["verdict"]["findings"][0]
    assert (worst["rank"], worst["node"], worst["phase"]) == (1, "node-1", "forward")
    assert worst["cause"] == "throttled_gpu"
    assert [(one["rank"], one["node"], one["alive"]) for one in found["ranks"]] == [
        (0, "node-0", True),
        (1, "node-1", True),
    ]


def test_the_command_asks_a_tuner(study, ring_reports):
    story = Story(1, ranks=2, step_seconds=0.5, fault="data_wait", slow_rank=0, by=0.2)
    cluster, run_id = told(study, ring_reports, story)
    command = [sys.executable, "-m", "paceline_exporters", "explain", "--tuner", cluster.tuner.url]
    done = subprocess.run([*command, run_id], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{run_id}: straggler (2 of 2 ranks on 2 nodes, ")
    assert "Rank 0 on node-0 costs " in done.stdout
    done = subprocess.run([*command, "nobodys"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "answers 404: no run 'nobodys' was proposed by this tuner" in done.stderr


def test_only_the_latest_attempt_counts(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    cluster.windows(*ring_reports(proposal, steps=8, ended=False))
    cluster.windows(*ring_reports(proposal, steps=3, seconds=0.5, attempt=1, kinds=("exception",)))
    found = cluster.tuner.get(f"/v1/runs/{proposal['run_id']}/explain")
    assert (found["attempt"], found["steps"]) == (1, [1, 3])
    assert [event["kind"] for event in found["ranks"][0]["events"]] == ["exception", "end"]
    assert found["alive"] is False


def test_a_rank_that_reported_nothing_is_missing(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    cluster.windows(*ring_reports(proposal, world_size=4, ranks=3, ended=False))
    found = cluster.tuner.get(f"/v1/runs/{proposal['run_id']}/explain")
    assert any("(3)" in sentence for sentence in found["missing"])


def test_a_run_that_is_not_there_is_answered_with_those_that_are(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    status, answer = cluster.tuner.call("GET", "/v1/runs/nobodys/explain")
    assert status == 404
    assert proposal["run_id"] in answer["error"]["message"]
    status, answer = cluster.tuner.call("GET", f"/v1/runs/{proposal['run_id']}/explain")
    assert status == 404
    assert "nothing yet" in answer["error"]["message"]
