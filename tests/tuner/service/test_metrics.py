"""/metrics of a real tuner: each study's series, what is unknown, and what never goes down."""

from __future__ import annotations

import time

from prometheus_client.parser import text_string_to_metric_families

from paceline_tuner.service.census import CLOSINGS, MOST_STUDIES
from paceline_tuner.service.metrics import FAMILIES


def scrape(tuner):
    """(name, labels) -> value."""
    return {
        (sample.name.removeprefix("paceline_tuner_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(tuner.get("/metrics"))
        for sample in family.samples
    }


class Series:
    """One study's series, as scraped."""

    def __init__(self, cluster):
        self.cluster = cluster

    def get(self, name, **labels):
        """The value, None where there is no such series."""
        labels = frozenset({"study": self.cluster.study, **labels}.items())
        return scrape(self.cluster.tuner).get((f"study_{name}", labels))

    def until(self, value, name, **labels):
        """Wait for a value: a count of the database serves for a second."""
        deadline = time.monotonic() + 30
        while (found := self.get(name, **labels)) != value:
            assert time.monotonic() < deadline, (name, labels, found)
            time.sleep(0.1)


def test_all_is_a_declared_family(study):
    cluster = study()
    cluster.run(cluster.next())
    names = {family.name for family in FAMILIES}
    seen = {family.name for family in text_string_to_metric_families(cluster.tuner.get("/metrics"))}
    assert seen <= names | {name.removesuffix("_total") for name in names}
    labels = {label for _, labels in scrape(cluster.tuner) for label, _ in labels}
    assert labels <= {label for family in FAMILIES for label in family.labels} | {"le"}


def test_a_new_study_counts_from_zero_and_claims_nothing(study):
    series = Series(study())
    series.until(0, "runs_closed_total", outcome="lost", cause="lost")
    for outcome, cause in CLOSINGS:
        assert series.get("runs_closed_total", outcome=outcome, cause=cause) == 0
    for name in ("best_value", "default_value", "proof_ratio", "proof_low_ratio", "ended_timestamp_seconds"):
        assert series.get(name) is None, f"{name} is unknown, so it is absent"
    labels = {"objective": "samples_per_second", "direction": "maximize"}
    assert series.get("info", state="search", **labels) == 1
    assert series.get("trial_budget") == 4


def test_trials_and_runs_as_they_go(study):
    cluster = study()
    series = Series(cluster)
    first = cluster.next()
    series.until(1, "open_runs", state="proposed")
    assert series.get("trials", state="open") == 1
    cluster.run(first)
    series.until(1, "runs_closed_total", outcome="finished", cause="done")
    value = cluster.view()["default"]["value"]
    assert series.get("default_value") == series.get("best_value") == value
    cluster.run(cluster.next(), seconds=0.05)
    series.until(2, "trials", state="complete")
    assert series.get("best_value") > value == series.get("default_value")


def test_the_best_of_what_is_to_be_small_is_the_smallest(study):
    objective = {"kind": "final", "direction": "minimize", "metric": "eval_loss", "max_steps": 5}
    cluster = study(objective=objective)
    for loss in (3.0, 2.0, 4.0):
        cluster.end(cluster.next(), metrics={"eval_loss": loss})
    series = Series(cluster)
    series.until(2.0, "best_value")
    assert series.get("default_value") == 3.0
    assert series.get("info", state="search", objective="eval_loss", direction="minimize") == 1


def test_a_failed_study_says_when_it_ended(study):
    cluster = study()
    for _ in range(2):
        cluster.end(cluster.next(), "failed", "crash")
    series = Series(cluster)
    series.until(2, "runs_closed_total", outcome="failed", cause="crash")
    labels = {"objective": "samples_per_second", "direction": "maximize"}
    assert series.get("info", state="failed", **labels) == 1
    assert series.get("ended_timestamp_seconds") == cluster.view()["ended_at"]


def test_a_lost_run_that_comes_back_was_lost_all_the_same(start, study):
    cluster = study(tuner=start("--lease.running", "2"))
    series = Series(cluster)
    proposal = cluster.next()
    cluster.heartbeat(proposal)
    series.until(1, "runs_closed_total", outcome="lost", cause="lost")
    cluster.run(proposal)
    series.until(1, "runs_closed_total", outcome="finished", cause="done")
    assert series.get("runs_closed_total", outcome="lost", cause="lost") == 1
    cluster.tuner.restart()
    assert series.get("runs_closed_total", outcome="lost", cause="lost") == 1, "counted from the log"
    assert series.get("runs_closed_total", outcome="finished", cause="done") == 1


def test_a_proof_shows_its_interval(study):
    cluster = study(budget={"trials": 2}, proof={"min_pairs": 6, "max_pairs": 6})
    while (proposal := cluster.next()) is not None:
        cluster.run(proposal, seconds=0.1 if proposal["trial"] == 0 else 0.05 + 0.001 * cluster.asked)
    proof = cluster.view()["proof"]
    series = Series(cluster)
    series.until(proof["ratio"], "proof_ratio")
    assert series.get("proof_low_ratio") == proof["low"]
    assert series.get("proof_high_ratio") == proof["high"]
    labels = {"objective": "samples_per_second", "direction": "maximize", "verdict": "use_this"}
    assert series.get("info", state="done", **labels) == 1


def test_the_latest_hundred_studies_are_shown_and_the_rest_counted(start, spec_json):
    tuner = start()
    for number in range(MOST_STUDIES + 3):
        name = f"study-{number:03}"
        tuner.post("/v1/studies", {"schema": 1, "spec": spec_json(name)})
        if number != 1:
            tuner.post(f"/v1/studies/{name}/cancel")
    deadline = time.monotonic() + 30
    while (found := scrape(tuner))["studies_hidden", frozenset()] != 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    shown = {dict(labels)["study"] for name, labels in found if name == "study_trial_budget"}
    assert len(shown) == MOST_STUDIES
    assert "study-001" in shown, "what goes on is shown, however old"
    assert shown.isdisjoint({"study-000", "study-002", "study-003"})
