"""One form for all errors, and studies made once."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "words"),
    [
        ("GET", "/v1/nothing", None, 404, "not_found", "Not Found"),
        ("GET", "/v1/studies/nobody", None, 404, "not_found", "no study 'nobody'"),
        ("DELETE", "/v1/studies", None, 405, "method_not_allowed", ""),
        ("POST", "/v1/studies", b"{", 400, "bad_request", "not JSON"),
        ("POST", "/v1/studies", b"\xff", 400, "bad_request", "not JSON"),
        ("POST", "/v1/studies", b"[" * 100_000, 400, "bad_request", "not JSON"),
        ("POST", "/v1/studies", b"[]", 400, "bad_request", "expected a JSON object"),
        ("POST", "/v1/studies", b'{"spec": {"name": NaN}}', 400, "bad_request", "NaN"),
        ("POST", "/v1/studies", {"spec": {}}, 400, "bad_request", "name"),
        ("POST", "/v1/studies", {}, 400, "bad_request", "'spec'"),
        ("POST", "/v1/studies/nobody/proposals", {"client_id": 3}, 400, "bad_request", "'client_id'"),
        ("POST", "/v1/windows", {"reporter": "run"}, 400, "bad_request", "'node'"),
        ("POST", "/v1/runs/x/end", {"state": "gone"}, 400, "bad_request", "'reason'"),
        ("POST", "/v1/windows", b"x" * (17 * 1024 * 1024), 413, "too_large", ""),
    ],
)
def test_errors_have_one_form(shared, method, path, body, status, code, words):
    found, answer = shared.call(method, path, body)
    assert found == status, answer
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]


def test_a_study_is_made_once(shared, spec_json):
    spec = spec_json("once")
    assert shared.call("POST", "/v1/studies", {"spec": spec})[0] == 201
    assert shared.call("POST", "/v1/studies", {"spec": spec})[0] == 200
    changed = spec | {"seed": 1}
    status, answer = shared.call("POST", "/v1/studies", {"spec": changed})
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "new name" in answer["error"]["message"]
    assert json.loads(json.dumps(shared.get("/v1/studies/once")["spec"]))["seed"] == 0
    assert "once" in [study["name"] for study in shared.get("/v1/studies")["studies"]]


def test_best_of_nothing_is_a_conflict(study):
    cluster = study()
    for path in ("best", "proposal"):
        assert cluster.tuner.call("GET", f"/v1/studies/{cluster.study}/{path}")[0] == 409


def test_metrics_are_what_prometheus_reads(study):
    cluster = study()
    cluster.run(cluster.next())
    families = {family.name: family for family in text_string_to_metric_families(cluster.tuner.get("/metrics"))}
    assert {
        "paceline_tuner_asks",
        "paceline_tuner_trials",
        "paceline_tuner_open_runs",
        "paceline_tuner_ask_seconds",
    } <= set(families)
    asks = {sample.labels["answer"]: sample.value for sample in families["paceline_tuner_asks"].samples}
    assert asks["proposal"] >= 1
    assert set(asks) == {"proposal", "open", "wait", "done", "error"}
