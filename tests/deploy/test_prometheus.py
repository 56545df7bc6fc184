"""deploy/prometheus: Prometheus and Alertmanager take the files, and they agree with the code and the base."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificates import OPENSSL, Authority
from paceline_service import Service
from prometheus_server import PROGRAM, prometheus

from paceline_agent.web_config import read_web_config
from paceline_dashboards.prometheus import Prometheus

Tool = Callable[[str, str], str]
Load = Callable[[Path], list[dict[str, Any]]]


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-secured.yml"])
def test_prometheus_takes_the_configuration_and_its_rules(deploy: Path, tool: Tool, name: str) -> None:
    promtool = tool("promtool", "Debian's package prometheus brings it")
    path = deploy / "prometheus" / name
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


@pytest.fixture
def secured(deploy: Path, tmp_path: Path) -> Path:
    """The agent's web configuration in a directory of its own, with the certificate that it names."""
    if OPENSSL is None:
        pytest.skip("no openssl here: it makes the certificate")
    authority = Authority(tmp_path)
    certificate, key = authority.issue("agent")
    certificate.rename(tmp_path / "agent.crt")
    assert key == tmp_path / "agent.key"
    authority.certificate.rename(tmp_path / "ca.crt")
    return Path(shutil.copy(deploy / "prometheus" / "agent-web-config.yml", tmp_path))


def test_the_agent_takes_the_web_configuration(secured: Path) -> None:
    config = read_web_config(secured)
    assert config.tls is not None and set(config.users) == {b"prometheus"}


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="prometheus is not here: Debian's package prometheus brings it")
@pytest.mark.parametrize(("password", "health"), [("example", "up"), ("wrong", "down")])
def test_prometheus_scrapes_by_tls_and_password(
    deploy: Path, load: Load, secured: Path, tmp_path: Path, password: str, health: str
) -> None:
    (configuration,) = load(deploy / "prometheus" / "prometheus-secured.yml")
    (job,) = configuration["scrape_configs"]
    (tmp_path / "password").write_text(password)
    flags = [f"--web.config.file={secured}", f"--rings.directory={tmp_path / 'rings'}"]
    agent = Service(tmp_path, ["agent", *flags, f"--state.directory={tmp_path / 'state'}"]).start()
    try:
        job["static_configs"][0]["targets"] = [agent.address]
        text = yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]})
        with prometheus(tmp_path, text) as url:
            assert settled(Prometheus(url))["health"] == health
    finally:
        agent.kill()


def settled(server: Prometheus) -> dict[str, Any]:
    """The target, once it was scraped."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        (target,) = server.get("targets")["activeTargets"] or [{"health": "unknown"}]
        if target["health"] != "unknown":
            return dict(target)
        time.sleep(0.2)
    raise AssertionError("never scraped")
