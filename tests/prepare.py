"""Install the Debian packages that some tests use, where that is possible; those tests skip loudly elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = {
    "amtool": "prometheus-alertmanager",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "gcc": "gcc libc6-dev",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "promtool": "prometheus",
    "strace": "strace",
}


def main() -> None:
    """Install what is missing; never fails."""
    missing = sorted(
        package
        for program, packages in PROGRAMS.items()
        if shutil.which(program) is None
        for package in packages.split()
    )
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        say(f"tests that need {', '.join(missing)} will be skipped: no root, or no apt here")
        return
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Installed services must not start by themselves: tests start what they need on ports of their own.
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            say(f"tests that need {', '.join(missing)} will be skipped: {done.stderr.strip()[-200:]}")
            return


def say(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"prepare: {text}\n")


if __name__ == "__main__":
    main()
