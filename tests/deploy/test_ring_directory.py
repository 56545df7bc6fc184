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
"""The sidecar's user and group; of the DaemonSet's agent, which is root without capabilities, the group."""
# Everything is imported before the user changes: the interpreter may stand where only root can read.
DROP = """
import json, os, sys
from pathlib import Path
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.rings import RingDirectory
directory, user, group = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if (user, group) != (os.getuid(), os.getgid()):
    os.setgroups([]); os.setgid(group); os.setuid(user)
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


def confined(*command: str) -> list[str]:
    """The command as a container without capabilities runs it."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv here: util-linux brings it")
    group = ["--clear-groups", f"--regid={AGENT}"]
    return [setpriv, *group, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", *command]


def by_init_container(deploy: Path, load: Callable[[Path], list[Any]], shared: Path) -> int:
    """As the examples make it, by the agent's own user."""
    (job,) = load(deploy / "kubernetes" / "examples" / "job.yaml")
    line = job["spec"]["template"]["spec"]["initContainers"][0]["command"][-1]
    words = re.search(r"install -d .*", line)
    assert words is not None
    path = shared / "rings"
    command = [*words[0].split()[:-1], str(path)]
    subprocess.run(command, check=True, user=AGENT, group=AGENT, extra_groups=[])
    return AGENT


def by_daemon_set(deploy: Path, load: Callable[[Path], list[Any]], shared: Path) -> int:
    """As the DaemonSet makes it: by root, of the agent's group, without capabilities."""
    (daemon_set,) = load(deploy / "kubernetes" / "base" / "agent" / "daemonset.yaml")
    spec = daemon_set["spec"]["template"]["spec"]
    (init,) = spec["initContainers"]
    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (0, AGENT)
    path = shared / "rings"
    path.mkdir(mode=0o755)
    for _ in range(2):  # and again, as on every start of the pod
        subprocess.run(confined(*init["command"][:-1], str(path)), check=True)
    return 0


@pytest.mark.parametrize("make", [by_init_container, by_daemon_set])
@pytest.mark.parametrize("trainer", [0, 12345])
def test_the_agent_reads_and_removes_what_others_write(
    deploy: Path,
    load: Callable[[Path], list[Any]],
    shared: Path,
    make: Callable[[Path, Any, Path], int],
    trainer: int,
) -> None:
    agent, directory = make(deploy, load, shared), shared / "rings"
    made = directory.stat()
    assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (0o3777, agent, AGENT)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(directory), str(trainer), str(trainer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline().strip(), "no ring was made"
    assert look(directory, agent, AGENT) == "[1, [true], {}, 0]\n"
    writer.communicate()
    assert look(directory, 54321, 54321) == '[0, [], {"permission": 1}, 0]\n'
    assert look(directory, agent, AGENT) == "[1, [false], {}, 1]\n"
    assert not list(directory.iterdir())


def look(directory: Path, user: int, group: int) -> str:
    """Rings, whether they live, what was skipped, how many were removed; root looks without capabilities."""
    command = [sys.executable, "-c", READ, str(directory), str(user), str(group)]
    if user == 0:
        command = confined(*command)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
