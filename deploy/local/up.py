"""Agent, tuner and Prometheus on this machine, in the foreground, until Ctrl-C: `make up`.

Needs Debian's `prometheus` (apt-get install prometheus); without it, agent and tuner run alone.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from paceline_tuner.child import ServiceChild, ServiceDied

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / "build" / "up"
PROMETHEUS = "127.0.0.1:9090"


def main() -> int:
    """Start, print the addresses, wait; returns the exit status."""
    STATE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            tuner = stack.enter_context(
                ServiceChild(["serve", "--database", str(STATE / "tuner.sqlite")], STATE / "tuner.log")
            )
            agent = stack.enter_context(ServiceChild(["agent", "--tuner.url", tuner.url], STATE / "agent.log"))
        except ServiceDied as error:
            say(f"{error} (logs in {STATE})")
            return 1
        say(f"agent       {agent.url}/metrics")
        say(f"tuner       {tuner.url}/v1/studies   (paceline tune study.yaml --tuner {tuner.url})")
        say(f"prometheus  {stack.enter_context(prometheus())}")
        say("Ctrl-C ends all of them")
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


@contextmanager
def prometheus() -> Iterator[str]:
    """Its address; or, where it is not installed, what to do about it."""
    program = shutil.which("prometheus")
    if program is None:
        yield "not installed: apt-get install prometheus"
        return
    config = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    flags = [f"--config.file={config}", f"--storage.tsdb.path={STATE / 'prometheus'}"]
    with (STATE / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(
            [program, *flags, f"--web.listen-address={PROMETHEUS}"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield f"http://{PROMETHEUS}"
    finally:
        process.terminate()
        process.wait(30)


def say(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
