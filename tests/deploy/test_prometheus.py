"""deploy/prometheus: Prometheus and Alertmanager take the files, and they agree with the code and the base."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tool = Callable[[str, str], str]
Load = Callable[[Path], list[dict[str, Any]]]


def test_prometheus_takes_the_configuration_and_its_rules(deploy: Path, tool: Tool) -> None:
    promtool = tool("promtool", "Debian's package prometheus brings it")
    path = deploy / "prometheus" / "prometheus.yml"
    done = subprocess.run([promtool, "check", "config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == 2


def test_alertmanager_takes_the_configuration(deploy: Path, tool: Tool) -> None:
    amtool = tool("amtool", "Debian's package prometheus-alertmanager brings it")
    path = deploy / "prometheus" / "alertmanager.yml"
    done = subprocess.run([amtool, "check-config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_targets_are_the_codes_ports_under_the_base_jobs_names(
    deploy: Path, load: Load, ports: dict[str, int]
) -> None:
    (configuration,) = load(deploy / "prometheus" / "prometheus.yml")
    scraped = {one["job_name"]: one["static_configs"][0]["targets"] for one in configuration["scrape_configs"]}
    assert scraped == {f"paceline-{name}": [f"127.0.0.1:{port}"] for name, port in ports.items()}
    monitors = load(deploy / "kubernetes" / "base" / "monitoring" / "podmonitors.yaml")
    assert {monitor["metadata"]["name"] for monitor in monitors} == set(scraped)


def test_rules_are_files_of_this_repository(deploy: Path, load: Load) -> None:
    path = deploy / "prometheus" / "prometheus.yml"
    (configuration,) = load(path)
    assert all((path.parent / name).is_file() for name in configuration["rule_files"])
