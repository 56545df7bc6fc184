from __future__ import annotations

from pathlib import Path

from paceline_exporters.sources.owners.slurm import jobs


def test_nothing_here(tmp_path: Path) -> None:
    assert jobs(tmp_path) == {}


def test_version_2_jobs_that_have_processes(tmp_path: Path) -> None:
    scope = tmp_path / "fs/cgroup/system.slice/node1_slurmstepd.scope"
    for job, populated in (("4711", 1), ("4712", 0)):
        (scope / f"job_{job}/step_0").mkdir(parents=True)
        (scope / f"job_{job}/cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
    (scope / "job_4713").mkdir()  # it goes just now
    (scope / "system").mkdir()
    assert jobs(tmp_path) == {"4711": ""}


def test_version_1_jobs_that_have_steps_once_each(tmp_path: Path) -> None:
    for controller in ("memory", "devices"):
        user = tmp_path / f"fs/cgroup/{controller}/slurm/uid_1000"
        (user / "job_4711/step_batch/task_0").mkdir(parents=True)
        (user / "job_4710").mkdir()  # left behind
    assert jobs(tmp_path) == {"4711": "1000"}
