from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from paceline_exporters.sources.mounts.table import Mount, parse, watched

ROOT = PurePosixPath("/")
TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw shared:2 - devtmpfs devtmpfs rw
25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw
27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
28 27 0:40 / /run rw - tmpfs tmpfs rw
30 27 9:0 / /raid rw - xfs /dev/md0 rw
31 27 9:0 /a /raid/again/by/bind rw - xfs /dev/md0 rw
32 27 0:50 / /home rw - nfs4 server:/home rw
33 32 8:1 / /home/scratch rw - ext4 /dev/sda1 rw
34 27 8:17 / /mnt/with\040blank rw master:5 - btrfs /dev/sdb1 rw
35 27 8:33 / /hidden rw - ext4 /dev/sdc1 rw
36 35 0:60 / /hidden rw - fuse.slow slow rw
37 27 0:61 / /data rw - lustre 10.0.0.1@o2ib:/data rw
not a mount
38 27
"""


def asked(text: str, rootfs: PurePosixPath = ROOT) -> dict[str, str]:
    return {name: str(point) for name, point in watched(parse(text), rootfs).items()}


def test_local_filesystems_once_each() -> None:
    """Not twice, not what is of no interest, and nothing that could wait for a server on the way."""
    assert asked(TABLE) == {
        "/": "/",
        "/raid": "/raid",
        "/dev/shm": "/dev/shm",
        "/mnt/with blank": "/mnt/with blank",
    }


def test_from_a_container() -> None:
    """The host's root is mounted elsewhere; what belongs to the container is not the host's."""
    text = """
1 0 0:99 / / rw - overlay overlay rw
2 1 259:2 / /host ro - ext4 /dev/nvme0n1p2 rw
3 2 9:0 / /host/raid ro - xfs /dev/md0 rw
4 2 0:23 / /host/dev/shm rw - tmpfs tmpfs rw
5 1 0:98 / /dev/shm rw - tmpfs shm rw
6 2 0:50 / /host/home rw - nfs4 server:/home rw
7 1 259:2 /etc/hosts /etc/hosts rw - ext4 /dev/nvme0n1p2 rw
"""
    assert asked(text, PurePosixPath("/host")) == {
        "/": "/host",
        "/raid": "/host/raid",
        "/dev/shm": "/host/dev/shm",
    }


def test_a_node_that_boots_from_a_network() -> None:
    text = "1 0 0:50 / / rw - nfs server:/root rw\n2 1 8:1 / /scratch rw - xfs /dev/sda1 rw\n"
    assert asked(text) == {"/scratch": "/scratch"}


@pytest.mark.parametrize("text", ["", "\n", " - ext4", "1 2 3 / - ext4 /dev/sda rw", "1 2 3 / /a rw -"])
def test_other_lines_are_skipped(text: str) -> None:
    assert list(parse(text)) == []


def test_optional_fields() -> None:
    [mount] = parse("1 2 8:1 / /a rw shared:1 master:2 propagate_from:3 - ext4 /dev/sda1 rw")
    assert mount == Mount("8:1", PurePosixPath("/a"), "ext4")
