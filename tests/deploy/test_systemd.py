"""deploy/systemd: the units are legal and hardened, and agree with the code and the image."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach.recorder import DEFAULT_DIRECTORY
from paceline_exporters.sources.contract import World

UNITS = ("agent", "tuner")
MOST_EXPOSURE = {"agent": "21", "tuner": "20"}
"""Tenths, as `systemd-analyze security` counts: 0 is none, 100 is all. The agent reads the kernel's log."""
Tool = Callable[[str, str], str]


def unit(deploy: Path, name: str) -> dict[str, str]:
    """The [Service] section; of a repeated key the last."""
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(deploy / "systemd" / f"paceline-{name}.service")
    return dict(parser["Service"])


def arguments(service: dict[str, str], parse: Callable[[Sequence[str]], Any]) -> Any:
    """ExecStart's, without what the administrator adds."""
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/paceline/bin/paceline"
    return parse([word for word in words if not word.startswith("$")])


@pytest.mark.parametrize("name", UNITS)
def test_flags_exist_and_only_loopback_is_listened_on(
    deploy: Path, name: str, parse: Callable[[Sequence[str]], Any], ports: dict[str, int]
) -> None:
    found = arguments(unit(deploy, name), parse)
    assert (found.listen if name == "agent" else found.address) == f"127.0.0.1:{ports[name]}"


def test_what_is_written_may_be_written(deploy: Path, parse: Callable[[Sequence[str]], Any]) -> None:
    agent, tuner = unit(deploy, "agent"), unit(deploy, "tuner")
    assert agent["ProtectSystem"] == tuner["ProtectSystem"] == "strict"
    for path in (arguments(agent, parse).spool, arguments(agent, parse).state):
        assert Path("/var/lib", agent["StateDirectory"]) in path.parents
    assert agent["ReadWritePaths"] == str(arguments(agent, parse).rings) == DEFAULT_DIRECTORY
    assert Path("/var/lib", tuner["StateDirectory"]) in arguments(tuner, parse).database.parents


def test_the_agent_has_one_capability_and_few_devices(deploy: Path) -> None:
    text = (deploy / "systemd" / "paceline-agent.service").read_text()
    agent = unit(deploy, "agent")
    assert agent["AmbientCapabilities"] == agent["CapabilityBoundingSet"] == "CAP_SYSLOG"
    assert agent["DevicePolicy"] == "closed" and "PrivateDevices" not in agent
    assert re.findall(r"(?m)^DeviceAllow=(.+)$", text) == ["char-nvidia* rw", f"{World().rootfs}dev/kmsg r"]
    assert (agent["ProtectKernelLogs"], agent["ProtectProc"]) == ("no", "default")


@pytest.mark.parametrize("name", UNITS)
def test_systemd_reads_the_unit(deploy: Path, name: str, tmp_path: Path, tool: Tool) -> None:
    analyze = tool("systemd-analyze", "systemd brings it")
    text = (deploy / "systemd" / f"paceline-{name}.service").read_text()
    path = tmp_path / f"paceline-{name}.service"
    # The program is looked for, and the environment of this test is where it is.
    path.write_text(text.replace("/opt/paceline/bin/paceline", sys.executable))
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, path.name in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_unit_is_hardened(deploy: Path, name: str, tmp_path: Path, tool: Tool) -> None:
    analyze = tool("systemd-analyze", "systemd brings it")
    path = shutil.copy(deploy / "systemd" / f"paceline-{name}.service", tmp_path)
    command = [analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSURE[name]}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot judge a unit that is not loaded: 250 or newer can")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ring_directory_is_the_agents(deploy: Path, tmp_path: Path, tool: Tool) -> None:
    for kind in ("sysusers", "tmpfiles"):
        directory = tmp_path / "usr" / "lib" / f"{kind}.d"
        directory.mkdir(parents=True)
        shutil.copy(deploy / "systemd" / f"paceline.{kind}.conf", directory / "paceline.conf")
    (tmp_path / "etc").mkdir()
    for command in (("systemd-sysusers",), ("systemd-tmpfiles", "--create")):
        program = tool(command[0], "systemd brings it")
        words = [program, *command[1:], f"--root={tmp_path}", "paceline.conf"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0 and "not permitted" in done.stderr:
            pytest.skip(f"no root here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
    (user,) = [line.split(":") for line in (tmp_path / "etc" / "passwd").read_text().splitlines()]
    made = (tmp_path / DEFAULT_DIRECTORY.lstrip("/")).stat()
    assert user[0] == unit(deploy, "agent")["User"]
    assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (0o3777, int(user[2]), int(user[3]))
