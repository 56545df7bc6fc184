"""The rules by Prometheus's own tool, and what each alert owes its reader."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

Rules = dict[str, list[dict[str, Any]]]
ALERT = re.compile(r"Paceline\w+")


def test_promtool_takes_the_rules(promtool: str, directory: Path) -> None:
    files = [str(directory / "rules" / f"{name}.yaml") for name in ("recording", "alerts")]
    done = subprocess.run([promtool, "check", "rules", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_do_what_their_tests_say(promtool: str, directory: Path) -> None:
    files = sorted(map(str, (directory / "rules" / "tests").glob("*.yaml")))
    done = subprocess.run([promtool, "test", "rules", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_that_fires_is_quiet_and_has_no_data(rules: Rules, directory: Path) -> None:
    names = {rule["alert"] for rule in rules["alerts"]}
    assert len(names) == len(rules["alerts"])
    tested = set()
    for path in (directory / "rules" / "tests").glob("*.yaml"):
        file = yaml.safe_load(path.read_text())
        if path.stem.startswith("recording"):
            continue
        [alert] = set(ALERT.findall(path.read_text()))
        fires = [case for case in file["tests"] if f'"{alert}"' in str(case.get("promql_expr_test"))]
        silent = [case for case in file["tests"] if case not in fires and case.get("alert_rule_test")]
        assert fires, f"{path.name}: it never fires"
        assert any(not case["input_series"] for case in silent), f"{path.name}: without data"
        assert any(case["input_series"] for case in silent), f"{path.name}: when all is well"
        tested.add(alert)
    assert tested == names


def test_each_alert_says_what_to_do_and_has_its_section(rules: Rules, directory: Path) -> None:
    page = (directory.parent / "docs" / "alerts.md").read_text()
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")[1:]}
    assert list(sections) == [rule["alert"] for rule in rules["alerts"]]
    for rule in rules["alerts"]:
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert notes["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert all(f"**{word}**" in sections[rule["alert"]] for word in ("Means", "Look at", "Do"))


def test_names_in_the_page_exist(directory: Path, metrics: dict[str, set[str] | None]) -> None:
    page = (directory.parent / "docs" / "alerts.md").read_text()
    named = set(re.findall(r"`(paceline_\w+)`", page))
    assert named and named <= set(metrics), named - set(metrics)
