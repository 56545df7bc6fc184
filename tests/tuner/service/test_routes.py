"""The OpenAPI document and the routes are one table."""

from __future__ import annotations

import re

from jsonschema import Draft202012Validator

from paceline_tuner.service.app import build_app
from paceline_tuner.service.routes import ROUTES, document
from paceline_tuner.service.service import Service
from paceline_tuner.service.settings import Settings


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def schemas(node):
    if isinstance(node, dict):
        yield from ([node["schema"]] if "schema" in node else [])
        for value in node.values():
            yield from schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas(value)


def test_the_document_covers_what_the_application_serves(tmp_path):
    app = build_app(Service(Settings(tmp_path / "unused.sqlite")))
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method not in ("HEAD", "*")
    }
    described = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert served == described


def test_the_document_is_sound():
    found = document()
    assert found["openapi"].startswith("3.1")
    names = [op["operationId"] for methods in found["paths"].values() for op in methods.values()]
    assert len(set(names)) == len(names) == len(ROUTES)
    for path, methods in found["paths"].items():
        for operation in methods.values():
            declared = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert operation["summary"]
            assert "200" in operation["responses"]
    components = found["components"]["schemas"]
    assert {name.rpartition("/")[2] for name in references(found)} <= set(components)
    for schema in [*components.values(), *schemas(found["paths"])]:
        Draft202012Validator.check_schema(schema)


def test_real_answers_match_their_schemas(study, ring_reports):
    cluster = study()
    served = cluster.tuner.get("/openapi.json")
    assert served == document()

    def check(instance, schema):
        Draft202012Validator({**schema, "components": served["components"]}).validate(instance)

    def answer(path, method="post"):
        content = served["paths"][path][method]["responses"]["200"]["content"]
        return content["application/json"]["schema"]

    asked = cluster.ask()
    check(asked, answer("/v1/studies/{name}/proposals"))
    check(cluster.ask(), answer("/v1/studies/{name}/proposals"))
    report = {"schema": 1, "reporter": "run", "node": "a", "rings": ring_reports(asked["proposal"])}
    check(report, served["components"]["schemas"]["Report"])
    check(cluster.tuner.post("/v1/windows", report), answer("/v1/windows"))
    check(cluster.heartbeat(asked["proposal"]), answer("/v1/runs/{run_id}/heartbeat"))
    check(cluster.end(asked["proposal"]), answer("/v1/runs/{run_id}/end"))
    check(cluster.view()["spec"], served["components"]["schemas"]["StudySpec"])
