from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paceline_exporters.metrics import Samples
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.mounts.source import MOST_MOUNTS, MountsSource

MOUNTSTATS = """\
device proc mounted on /proc with fstype proc
device server:/data mounted on {root}/mnt/data with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2,rsize=1048576
\tage:\t100
\tevents:\t1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27
\tbytes:\t11 12 13 14 5000 6000 17 18
\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)
device server:/data mounted on {root}/mnt/data/again with fstype nfs4 statvers=1.1
\tbytes:\t11 12 13 14 5000 6000 17 18
device /dev/sda1 mounted on {root}/raid with fstype xfs
\tbytes:\t1 2 3 4 5 6 7 8
device server:/elsewhere mounted on /elsewhere with fstype nfs statvers=1.1
\tbytes:\t1 2 3 4 5 6 7 8
"""


def values(samples: Samples) -> dict[str, object]:
    return {
        " ".join((family.name.removeprefix("paceline_"), *labels)): value
        for family, points in samples.points.items()
        for labels, value in points.items()
    }


def host(root: Path, lines: str = "", mountstats: str = "") -> World:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(lines)
    (root / "proc/self/mountstats").write_text(mountstats)
    return World(procfs=root / "proc", rootfs=root)


def test_this_machine() -> None:
    found = values(MountsSource(World()).sample())
    for name, value in found.items():
        kind, _, point = name.partition(" ")
        if kind == "filesystem_size_bytes":
            total = shutil.disk_usage(point).total
            assert value == total
    assert any(name.startswith("filesystem_size_bytes") for name in found)


def test_the_host_below_another_root(tmp_path: Path) -> None:
    (tmp_path / "raid").mkdir()
    world = host(tmp_path, f"2 1 9:0 / {tmp_path}/raid ro - xfs /dev/md0 rw\n")
    found = values(MountsSource(world).sample())
    assert found["filesystem_size_bytes /raid"] == shutil.disk_usage(tmp_path / "raid").total
    assert found["filesystem_readonly /raid"] == 0
    assert {name.partition(" ")[2] for name in found} == {"/raid"}


def test_bytes_of_nfs_mounts(tmp_path: Path) -> None:
    world = host(tmp_path, mountstats=MOUNTSTATS.format(root=tmp_path))
    assert values(MountsSource(world).sample()) == {
        "nfs_read_bytes_total /mnt/data": 5000,
        "nfs_written_bytes_total /mnt/data": 6000,
    }


def test_a_filesystem_that_is_gone_costs_itself_only(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    lines = (f"2 1 9:{number} / {tmp_path}/{name} rw - xfs x rw" for number, name in enumerate(("gone", "here")))
    samples = MountsSource(host(tmp_path, "\n".join(lines))).sample()
    assert {name.partition(" ")[2] for name in values(samples)} == {"/here"}
    assert samples.problem is None


def test_a_filesystem_that_fails_is_told(tmp_path: Path) -> None:
    """A link to itself stands for one whose disk fails."""
    (tmp_path / "here").mkdir()
    (tmp_path / "broken").symlink_to("broken")
    lines = (
        f"2 1 9:{number} / {tmp_path}/{name} rw - xfs x rw" for number, name in enumerate(("broken", "here"))
    )
    samples = MountsSource(host(tmp_path, "\n".join(lines))).sample()
    assert {name.partition(" ")[2] for name in values(samples)} == {"/here"}
    assert isinstance(samples.problem, OSError)


def test_they_are_bounded(tmp_path: Path) -> None:
    lines = []
    for number in range(2 * MOST_MOUNTS):
        (tmp_path / f"m{number:03}").mkdir()
        lines.append(f"2 1 9:{number} / {tmp_path}/m{number:03} rw - xfs x rw")
    found = values(MountsSource(host(tmp_path, "\n".join(lines))).sample())
    assert sum(name.startswith("filesystem_size_bytes") for name in found) == MOST_MOUNTS


def test_no_mount_table_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mountinfo"):
        MountsSource(World(procfs=tmp_path)).sample()


def test_no_nfs_in_the_kernel(tmp_path: Path) -> None:
    world = host(tmp_path)
    (world.procfs / "self/mountstats").unlink()
    assert values(MountsSource(world).sample()) == {}
