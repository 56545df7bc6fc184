"""deploy/slurm: the scripts do what they say; Slurm's own programs are stood in for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paceline_agent.supervise.launch import ATTACH_PATH

STAND_INS = {
    "scontrol": 'printf "node-a\\nnode-b\\n"',
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nSLURM_PROCID=0 exec "$@"',
    "torchrun": 'printf "%s\\n" "$@" "proposal=${PACELINE_PROPOSAL:-}"',
}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Slurm's programs and torchrun, as far as the script can tell, and the real paceline."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, body in {**STAND_INS, "paceline": f'exec {sys.executable} -m paceline_exporters "$@"'}.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    return directory


def sbatch(deploy: Path, programs: Path, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the batch script as slurmd would."""
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PACELINE_RING_DIR": str(tmp_path / "rings"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_JOB_NUM_NODES": "2",
        **variables,
    }
    command = ["bash", str(deploy / "slurm" / "train.sbatch"), "--learning_rate", "1e-4"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_each_node_runs_one_supervised_launcher(deploy: Path, programs: Path, tmp_path: Path) -> None:
    done = sbatch(deploy, programs, tmp_path, SLURM_GPUS_ON_NODE="8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "--nnodes=2",
        "--nproc-per-node=8",
        "--rdzv-id=7",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=node-a:29500",
        "train.py",
        "--output_dir",
        "out",
        "--learning_rate",
        "1e-4",
        "proposal=",
    ]


def test_a_proposal_arrives_whole(deploy: Path, programs: Path, tmp_path: Path) -> None:
    text = (
        '{"schema": 1, "run_id": "r", "study": "s", "trial": 1, "kind": "normal", "arguments": {"a": 1, "b": 2},'
        ' "ddp": {}, "env": {}, "placeholders": {}, "effects": {}, "origins": {}, "harness": null, "hash": "h"}'
    )
    done = sbatch(deploy, programs, tmp_path, PACELINE_PROPOSAL=text)
    assert done.returncode == 0, done.stderr
    assert '"a": 1, "b": 2' in done.stdout.splitlines()[-1]


def test_no_export_list_has_a_comma(deploy: Path) -> None:
    for path in (deploy / "slurm").iterdir():
        code = [line for line in path.read_text().splitlines() if not re.match(r"#(?!SBATCH)", line)]
        assert not [line for line in code if re.search(r"--export=\S*,", line)], path


@pytest.mark.parametrize("before", [None, "/opt/other"])
def test_task_prolog_attaches_every_task(deploy: Path, tmp_path: Path, before: str | None) -> None:
    script = tmp_path / "taskprolog.sh"
    text = (deploy / "slurm" / "taskprolog.sh").read_text()
    assert "hooks=/opt/paceline/attach/path\n" in text
    script.write_text(text.replace("/opt/paceline/attach/path", str(ATTACH_PATH)))
    environment = {"PATH": os.environ["PATH"], **({"PYTHONPATH": before} if before else {})}
    done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=True)
    word, _, value = done.stdout.rstrip("\n").partition("=")
    assert (word, value.split(":")) == ("export PYTHONPATH", [str(ATTACH_PATH), *([before] if before else [])])
    task = [sys.executable, "-c", "import sys; print('_paceline_attach' in sys.modules)"]
    told = subprocess.run(task, env={"PYTHONPATH": value}, capture_output=True, text=True, check=True)
    assert told.stdout == "True\n"


def test_task_prolog_says_nothing_where_there_are_no_hooks(deploy: Path, tmp_path: Path) -> None:
    script = tmp_path / "taskprolog.sh"
    text = (deploy / "slurm" / "taskprolog.sh").read_text()
    script.write_text(text.replace("/opt/paceline/attach/path", str(tmp_path / "nowhere")))
    assert subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True).stdout == ""
