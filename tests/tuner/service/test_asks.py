"""What a submitter is told to run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

FINAL = {"kind": "final", "direction": "minimize", "metric": "eval_loss", "max_steps": 12}
"""The only kind of study whose runs may go side by side."""
BATCH = {
    "name": "per_device_train_batch_size",
    "target": "arguments",
    "key": "per_device_train_batch_size",
    "kind": "choice",
    "effect": "speed",
    "choices": [3, 4, 8, 16],
}


def test_the_first_trial_is_the_default_in_its_own_directory(study):
    cluster = study()
    answer = cluster.ask(run_root="/runs")
    proposal = answer["proposal"]
    assert (proposal["trial"], proposal["kind"], proposal["arguments"]) == (0, "trial", {})
    assert proposal["expects"]["arguments"] == ["learning_rate"]
    assert proposal["harness"] == {
        "output_dir": f"/runs/{proposal['run_id']}",
        "max_steps": 12,
        "seed": 0,
        "evaluate": False,
    }
    assert proposal["run_id"].startswith(f"{cluster.study}-0-0-")


def test_the_same_request_gets_the_same_proposal_and_another_waits(study):
    cluster = study()
    first = cluster.ask("one")
    assert cluster.ask("one") == first
    second = cluster.ask("two")
    assert "1 of 1 parallel runs" in second["reason"]
    cluster.run(first["proposal"])
    assert cluster.ask("one") == first
    assert cluster.ask("two")["proposal"]["trial"] == 1


def test_parallel_asks_get_different_runs(study):
    cluster = study(objective=FINAL, budget={"trials": 9, "parallel": 8})
    cluster.end(cluster.next(), "finished", metrics={"eval_loss": 2.0})
    with ThreadPoolExecutor(8) as pool:
        proposals = list(pool.map(lambda _: cluster.next(), range(8)))
    assert sorted(proposal["trial"] for proposal in proposals) == list(range(1, 9))
    assert len({proposal["hash"] for proposal in proposals}) == 8


def test_a_held_batch_waits_for_the_default_runs_header_and_fits_it(study, ring_reports):
    budget = {"trials": 6, "parallel": 2}
    cluster = study(objective=FINAL, knobs=[BATCH], hold_global_batch=True, budget=budget)
    default = cluster.ask()["proposal"]
    assert "batch" in cluster.ask()["reason"]
    cluster.windows(*ring_reports(default, steps=1, ended=False))
    seen = []
    for _ in range(4):
        proposal = cluster.next()
        seen.append(proposal["arguments"])
        cluster.windows(*ring_reports(proposal))
        cluster.end(proposal, metrics={"eval_loss": 2.0})
    assert all(
        found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] == 16 for found in seen
    )


def test_a_held_batch_that_fits_nothing_ends_the_study(study):
    cluster = study(knobs=[BATCH | {"choices": [3, 5]}], hold_global_batch=True)
    cluster.run(cluster.next())
    view = cluster.view()
    assert view["state"] == "failed"
    assert "global batch" in view["reason"]


def test_after_a_crash_a_client_gets_its_open_runs_back(study):
    cluster = study(objective=FINAL, budget={"trials": 4, "parallel": 2})
    mine = cluster.ask()["proposal"]
    cluster.heartbeat(mine)
    expected = {"open": [{"proposal": mine, "state": "running"}]}
    assert cluster.tuner.get(f"/v1/studies/{cluster.study}/open?client_id=cluster") == expected
    assert cluster.tuner.get(f"/v1/studies/{cluster.study}/open?client_id=other") == {"open": []}
    assert cluster.ask(resume=True) == expected
    cluster.end(mine)
    assert cluster.tuner.get(f"/v1/studies/{cluster.study}/open?client_id=cluster") == {"open": []}


def test_conditions_and_structured_choices_reach_the_proposal(study):
    knobs = [
        {
            "name": "lr_scheduler_kwargs",
            "target": "arguments",
            "key": "lr_scheduler_kwargs",
            "kind": "choice",
            "effect": "convergence",
            "choices": [{"min_lr": 1e-6}, {"min_lr": 1e-5, "num_cycles": 2}],
        },
        {
            "name": "ddp.bucket_cap_mb",
            "target": "ddp",
            "key": "bucket_cap_mb",
            "kind": "choice",
            "effect": "speed",
            "choices": [None, 5, 25],
        },
    ]
    cluster = study(knobs=knobs, budget={"trials": 5})
    cluster.run(cluster.next())
    while proposal := cluster.next():
        assert proposal["arguments"]["lr_scheduler_kwargs"] in knobs[0]["choices"]
        assert proposal["ddp"]["bucket_cap_mb"] in knobs[1]["choices"]
        cluster.run(proposal)
