from __future__ import annotations

from pathlib import Path

import pytest

from paceline_exporters.sources.cgroups.limits import Values, cpu_1, cpu_2, memory_1, memory_2


def group(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(f"{text}\n")
    return path


def test_version_2_the_lowest_limit_speaks(tmp_path: Path) -> None:
    """A step of a job: the job has the memory limit, a group between a higher one, the task the CPU's."""
    job = group(
        tmp_path / "job",
        memory__max="1000",
        memory__current="900",
        memory__events="low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0",
        cpu__max="max 100000",
        cpu__stat="usage_usec 9\nthrottled_usec 9000000",
    )
    step = group(job / "step", memory__max="2000", memory__current="800", cpu__max="600000 100000")
    task = group(
        step / "task",
        memory__max="max",
        memory__current="700",
        memory__events="oom_kill 7",
        cpu__max="150000 100000",
        cpu__stat="usage_usec 5\nnr_throttled 4\nthrottled_usec 2500000",
    )
    groups = [task, step, job]
    assert memory_2(groups) == {"memory_limit": 1000, "memory_used": 900, "oom_kills": 1}
    assert cpu_2(groups) == {"cpu_limit": 1.5, "cpu_throttled": 2.5}


def test_version_2_without_a_limit_the_own_group_speaks(tmp_path: Path) -> None:
    above = group(tmp_path / "above", memory__max="max", memory__current="900", memory__events="oom_kill 4")
    own = group(
        above / "own", memory__max="max", memory__current="7", memory__events="oom_kill 0", cpu__stat="x 1"
    )
    assert memory_2([own, above]) == {"memory_used": 7, "oom_kills": 0}
    assert cpu_2([own, above]) == {}


def test_version_1(tmp_path: Path) -> None:
    unlimited = str(0x7FFFFFFFFFFFF000)
    pod = group(
        tmp_path / "pod",
        memory__limit_in_bytes="1000",
        memory__usage_in_bytes="900",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3",
        cpu__cfs_quota_us="250000",
        cpu__cfs_period_us="100000",
        cpu__stat="nr_periods 9\nnr_throttled 5\nthrottled_time 1500000000",
    )
    container = group(
        pod / "container",
        memory__limit_in_bytes=unlimited,
        memory__usage_in_bytes="800",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 0",
        cpu__cfs_quota_us="-1",
        cpu__cfs_period_us="100000",
        cpu__stat="nr_periods 0\nnr_throttled 0\nthrottled_time 0",
    )
    assert memory_1([container, pod]) == {"memory_limit": 1000, "memory_used": 900, "oom_kills": 3}
    assert cpu_1([container, pod]) == {"cpu_limit": 2.5, "cpu_throttled": 1.5}
    assert memory_1([container]) == {"memory_used": 800, "oom_kills": 0}
    assert cpu_1([container]) == {"cpu_throttled": 0}


@pytest.mark.parametrize("text", ["", "lots", "oom_kill", "-5"])
def test_files_that_are_not_as_expected_say_nothing(tmp_path: Path, text: str) -> None:
    odd = group(
        tmp_path / "odd", memory__max=text, memory__current=text, cpu__max=text, cpu__stat="throttled_usec"
    )
    nothing: Values = {}
    assert memory_2([odd]) == nothing
    assert cpu_2([odd]) == nothing
