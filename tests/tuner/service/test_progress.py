"""From trials to a verdict, or to an end with a reason."""

from __future__ import annotations

PROOF = {"min_pairs": 6, "max_pairs": 8, "width": 0.05}


def finish(cluster, default=0.12, candidate=0.1, jitter=(1.0, 1.01, 0.99)):
    """Run whatever is asked for; returns the proposals."""
    proposals = []
    while proposal := cluster.next():
        seconds = candidate if proposal["arguments"] else default
        cluster.run(proposal, seconds=seconds * jitter[len(proposals) % len(jitter)])
        proposals.append(proposal)
    return proposals


def test_a_better_configuration_is_proved_in_alternating_pairs(study):
    cluster = study(proof=PROOF)
    proposals = finish(cluster)
    pairs = [proposal["trial"] for proposal in proposals if proposal["kind"] == "pair"]
    best = cluster.tuner.get(f"/v1/studies/{cluster.study}/best")
    assert pairs[:4] == [0, best["trial"], best["trial"], 0]
    assert len(pairs) in (12, 14, 16)
    view = cluster.view()
    assert (view["state"], view["proof"]["verdict"]) == ("done", "use this")
    assert best["proof"] == view["proof"]
    assert best["proof"]["low"] > 1
    assert view["progress"]["pairs"] == len(pairs) // 2
    normal = cluster.tuner.get(f"/v1/studies/{cluster.study}/proposal")["proposal"]
    assert (normal["kind"], normal["harness"], normal["arguments"]) == ("normal", None, best["arguments"])


def test_pairs_never_run_side_by_side(study, ring_reports):
    objective = {"kind": "final", "direction": "minimize", "metric": "eval_loss", "max_steps": 12}
    cluster = study(objective=objective, budget={"trials": 2, "parallel": 2}, proof=PROOF)
    for loss in (2.0, 1.5):
        proposal = cluster.next()
        cluster.windows(*ring_reports(proposal))
        cluster.end(proposal, metrics={"eval_loss": loss})
    assert cluster.next()["kind"] == "pair"
    assert "one after the other" in cluster.ask()["reason"]


def test_a_default_that_is_best_needs_no_proof(study):
    cluster = study(proof=PROOF)
    proposals = finish(cluster, default=0.1, candidate=0.2)
    assert len(proposals) == 4
    view = cluster.view()
    assert (view["state"], view["proof"]["verdict"]) == ("done", "keep your default")
    assert "none of 3 configurations beat the default" in view["reason"]
    normal = cluster.tuner.get(f"/v1/studies/{cluster.study}/proposal")
    assert normal["proposal"]["arguments"] == {}
    assert "none of 3" in normal["reason"]


def test_what_is_not_proved_is_given_only_when_asked_for(study):
    cluster = study()
    finish(cluster)
    assert cluster.view()["proof"] is None
    path = f"/v1/studies/{cluster.study}/proposal"
    assert cluster.tuner.get(path)["proposal"]["arguments"] == {}
    assert cluster.tuner.get(f"{path}?even_unproven=1")["proposal"]["arguments"] != {}


def test_a_pair_whose_run_fails_twice_is_dropped(study):
    cluster = study(budget={"trials": 2}, proof=PROOF)
    cluster.run(cluster.next(), seconds=0.2)
    cluster.run(cluster.next(), seconds=0.1)
    while proposal := cluster.next():
        if proposal["arguments"]:
            cluster.end(proposal, "failed", "crash")
        else:
            cluster.run(proposal)
    view = cluster.view()
    assert view["proof"]["dropped"] == 3
    assert view["proof"]["verdict"] == "keep your default"


def test_an_unknown_name_ends_the_whole_study(study):
    cluster = study()
    text = "transformers 5.23 has no argument learning_rat"
    cluster.end(cluster.next(), "rejected", "rejected", code="unknown_name", detail=text)
    view = cluster.view()
    assert view["state"] == "failed"
    assert text in view["reason"]
    assert cluster.ask()["done"] is True


def test_a_default_that_fails_twice_ends_the_study_and_says_where_to_look(study):
    cluster = study()
    cluster.end(cluster.next(), "failed", "crash", detail="no module named datasets")
    second = cluster.next()
    cluster.end(second, "failed", "crash", detail="no module named datasets")
    view = cluster.view()
    assert view["state"] == "failed"
    assert "no module named datasets" in view["reason"]
    assert f"see the log of run {second['run_id']}" in view["reason"]


def test_five_failed_trials_in_a_row_end_the_study(study):
    cluster = study(budget={"trials": 20})
    cluster.run(cluster.next())
    failed = 0
    while proposal := cluster.next():
        cluster.end(proposal, "failed", "oom", detail="out of memory")
        failed += 1
    view = cluster.view()
    assert (view["state"], failed) == ("failed", 10)
    assert "out of memory" in view["reason"]


def test_wall_time_ends_the_search(study):
    cluster = study(budget={"trials": 1000, "wall_seconds": 3.0})
    finish(cluster, default=0.1, candidate=0.2)
    view = cluster.view()
    assert view["state"] == "done"
    assert view["progress"]["trials"] < 1000


def test_importance_and_log(study):
    cluster = study()
    assert cluster.tuner.get(f"/v1/studies/{cluster.study}/importance")["importance"] == {}
    finish(cluster)
    found = cluster.tuner.get(f"/v1/studies/{cluster.study}/importance")
    assert set(found["importance"]) == {"learning_rate"}
    kinds = [event["kind"] for event in cluster.log()]
    assert kinds[0] == "created"
    assert kinds[-1] == "done"
    assert kinds.count("proposal") == 4
