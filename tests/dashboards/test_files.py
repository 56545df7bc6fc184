"""What is committed is what the code makes, and what Grafana's own schema takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

SCHEMA = Path(__file__).resolve().parents[3] / "shared" / "grafana" / "dashboard.jsonschema.json"


def test_files_are_what_the_code_makes(directory: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="pip install 'paceline[dev]'")
    from paceline_dashboards.files import contents

    for name, text in contents().items():
        assert (directory / name).read_text() == text, f"{name}: cd dashboards && python -m paceline_dashboards"


def test_dashboards_are_valid(dashboards: dict[str, dict[str, Any]]) -> None:
    if not SCHEMA.exists():
        pytest.skip(f"Grafana's schema is not at {SCHEMA}")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    for name, dashboard in dashboards.items():
        assert not [f"{name} {error.json_path}" for error in validator.iter_errors(dashboard)]


def test_every_panel_says_what_it_shows_and_what_is_unknown(dashboards: dict[str, dict[str, Any]]) -> None:
    for dashboard in dashboards.values():
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in dashboard["panels"]:
            if panel["type"] == "row":
                continue
            defaults = panel["fieldConfig"]["defaults"]
            assert panel["description"].endswith(".") and defaults["unit"], panel["title"]
            assert defaults["noValue"] == "n/a", panel["title"]
            [unknown] = [one for one in defaults["mappings"] if one["type"] == "special"]
            assert unknown["options"]["match"] == "null+nan" and unknown["options"]["result"]["text"] == "n/a"
            assert panel["datasource"]["uid"] == "${datasource}"


def test_panels_neither_overlap_nor_stick_out(dashboards: dict[str, dict[str, Any]]) -> None:
    for dashboard in dashboards.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
            taken |= cells


def test_dashboards_lead_to_each_other(dashboards: dict[str, dict[str, Any]]) -> None:
    uids = {dashboard["uid"] for dashboard in dashboards.values()}
    for dashboard in dashboards.values():
        links = [link["url"] for link in dashboard["links"]]
        links += [link["url"] for panel in dashboard["panels"] for link in _cells(panel)]
        targets = {link.split("/d/")[1].split("?")[0] for link in links}
        assert targets == uids - {dashboard["uid"]}


def _cells(panel: dict[str, Any]) -> list[dict[str, Any]]:
    return list(panel.get("fieldConfig", {}).get("defaults", {}).get("links") or [])
