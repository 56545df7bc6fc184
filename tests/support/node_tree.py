"""A node's procfs and root as files of the test's own: processes, log links, the driver's word on GPUs."""

from __future__ import annotations

import itertools
from pathlib import Path

from paceline_exporters.sources.board import Gpu


class NodeTree:
    """Below one directory; what it writes looks as the kernel and the kubelet write it."""

    def __init__(self, root: Path) -> None:
        self.procfs, self.sysfs, self.rootfs = root / "proc", root / "sys", root
        self.procfs.mkdir()
        self.sysfs.mkdir()
        self._ticks = itertools.count(1000)

    def process(
        self,
        pid: int,
        parent: int = 1,
        session: int | None = None,
        command: str = "python",
        cgroup: str = "/user.slice",
        environ: dict[str, str] | None = None,
        uid: int = 1000,
        start: int | None = None,
    ) -> None:
        """A process begins, later than those before it; `environ` None is one that cannot be read."""
        directory = self.procfs / str(pid)
        directory.mkdir(exist_ok=True)
        start = next(self._ticks) if start is None else start
        middle = f"{parent} {pid} {pid if session is None else session} 0 -1 4194304" + " 0" * 12
        (directory / "stat").write_text(f"{pid} ({command}) S {middle} {start} 0 0\n")
        (directory / "status").write_text(f"Name:\t{command}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (directory / "cgroup").write_text(f"0::{cgroup}\n")
        if environ is not None:
            text = "".join(f"{name}={value}\0" for name, value in environ.items())
            (directory / "environ").write_text(text)

    def end(self, pid: int) -> None:
        """It is gone."""
        for path in (self.procfs / str(pid)).iterdir():
            path.unlink()
        (self.procfs / str(pid)).rmdir()

    def log_link(self, namespace: str, pod: str, container: str, container_id: str) -> None:
        """The kubelet's link to a container's log."""
        directory = self.rootfs / "var/log/containers"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{pod}_{namespace}_{container}-{container_id}.log").symlink_to("/nowhere")

    def minor(self, gpu: Gpu, number: int) -> None:
        """What the NVIDIA driver says of a GPU in procfs."""
        directory = self.procfs / "driver/nvidia/gpus" / gpu.pci
        directory.mkdir(parents=True)
        text = f"Model: \t\t NVIDIA H200\nGPU UUID: \t {gpu.uuid}\nDevice Minor: \t {number}\n"
        (directory / "information").write_text(text)
