"""The ring directory as the manifests make it: what any user's rank writes there the agent reads and removes, and
no other user does either."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

AGENT = 65532
# Everything is imported before the user changes: the interpreter may stand where only root can read.
DROP = """
import json, os, sys
from pathlib import Path
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.rings import RingDirectory
directory, user = sys.argv[1], int(sys.argv[2])
os.setgroups([]); os.setgid(user); os.setuid(user)
"""
WRITE = (
    DROP
    + """
recorder = Recorder(directory, {"run_id": "run-1", "rank": 0})
print(recorder.uuid, flush=True)
sys.stdin.read()
"""
)
READ = (
    DROP
    + """
rings = RingDirectory(Path(directory))
found = rings.scan()
alive = [ring.alive() for ring in found.rings.values()]
print(json.dumps([len(found.rings), alive, found.skipped, rings.sweep(older_than_seconds=-5.0)]))
rings.close()
"""
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes users, which needs root")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user can reach, as a volume's root is."""
    path = Path(tempfile.mkdtemp(prefix="paceline-test-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def by_init_container(deploy: Path, load: Callable[[Path], list[Any]], shared: Path) -> Path:
    """As the examples make it, by the agent's own user."""
    (job,) = load(deploy / "kubernetes" / "examples" / "job.yaml")
    line = job["spec"]["template"]["spec"]["initContainers"][0]["command"][-1]
    words = re.search(r"install -d .*", line)
    assert words is not None
    path = shared / "rings"
    command = [*words[0].split()[:-1], str(path)]
    subprocess.run(command, check=True, user=AGENT, group=AGENT, extra_groups=[])
    return path


def by_daemon_set(deploy: Path, load: Callable[[Path], list[Any]], shared: Path) -> Path:
    """As the DaemonSet makes it: by root with the capabilities of its init container and no others."""
    (daemon_set,) = load(deploy / "kubernetes" / "base" / "agent" / "daemonset.yaml")
    (init,) = daemon_set["spec"]["template"]["spec"]["initContainers"]
    kept = ",".join(f"+{name.lower()}" for name in init["securityContext"]["capabilities"]["add"])
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv here: util-linux brings it")
    path = shared / "rings"
    path.mkdir(mode=0o755)
    confined = [setpriv, "--clear-groups", "--inh-caps=-all", f"--bounding-set=-all,{kept}", "--no-new-privs"]
    command = [*confined, *init["command"][:-1], str(path)]
    subprocess.run(command, check=True)
    subprocess.run(command, check=True)  # and again, as on every start of the pod
    return path


@pytest.mark.parametrize("make", [by_init_container, by_daemon_set])
@pytest.mark.parametrize("trainer", [0, 12345])
def test_the_agent_reads_and_removes_what_others_write(
    deploy: Path,
    load: Callable[[Path], list[Any]],
    shared: Path,
    make: Callable[[Path, Any, Path], Path],
    trainer: int,
) -> None:
    directory = make(deploy, load, shared)
    made = directory.stat()
    assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (0o3777, AGENT, AGENT)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(directory), str(trainer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline().strip(), "no ring was made"
    assert look(directory, AGENT) == "[1, [true], {}, 0]\n"
    writer.communicate()
    assert look(directory, 54321) == '[0, [], {"permission": 1}, 0]\n'
    assert look(directory, AGENT) == "[1, [false], {}, 1]\n"
    assert not list(directory.iterdir())


def look(directory: Path, user: int) -> str:
    """Rings, whether they live, what was skipped, how many were removed."""
    command = [sys.executable, "-c", READ, str(directory), str(user)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
