"""`paceline doctor` in real situations: users without rights, namespaces, full and read-only file systems."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from nvml_stub import Driver
from sysfs_trees import dgx

DOCTOR = [sys.executable, "-c", "import sys; from paceline_exporters.cli import main; sys.exit(main())", "doctor"]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
ELSEWHERE = ("KUBERNETES_", "SLURM_")
"""Variables that would make this another place."""
Findings = Mapping[str, Mapping[str, str]]


def can(*command: str) -> bool:
    """Whether this user may do it here."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_nobody = pytest.mark.skipif(
    not can(*NOBODY, sys.executable, "-c", "import psutil"), reason="cannot run this Python as another user"
)
needs_mounts = pytest.mark.skipif(not can("unshare", "--mount", "true"), reason="cannot make a mount namespace")


class Doctor:
    """Runs the command with directories of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.flags = [
            "--node=node-a",
            "--web.listen-address=127.0.0.1:0",
            f"--rings.directory={root}/rings",
            f"--state.directory={root}/state",
            f"--spool.directory={root}/spool",
        ]

    def run(self, *flags: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """The command itself, behind what changes its surroundings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ELSEWHERE)}
        environment = {**kept, **self.environment}
        command = [*before, *DOCTOR, *self.flags, *flags]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def findings(self, *flags: str, before: Sequence[str] = ()) -> Findings:
        """By subject; checked for what holds of every report."""
        done = self.run("--json", *flags, before=before)
        assert done.stderr == ""
        report: dict[str, Any] = json.loads(done.stdout)
        wanting = [finding for finding in report["findings"] if finding["status"] in ("limited", "broken")]
        assert all(finding["why"] and finding["fix"] for finding in wanting)
        assert (done.returncode, report["healthy"]) == (int(bool(wanting)), not wanting)
        return {finding["subject"]: finding for finding in report["findings"]}

    def mounted(self, mount: str, *flags: str, before: Sequence[str] = ()) -> Findings:
        """The same after a mount that only this process sees."""
        script = f'{mount} && exec "$@"'
        return self.findings(*flags, before=["unshare", "--mount", "sh", "-c", script, "sh", *before])


@pytest.fixture
def doctor() -> Iterator[Doctor]:
    """In a directory that other users reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="doctor-") as name:
        Path(name).chmod(0o777)
        yield Doctor(Path(name))


@pytest.fixture
def rings(doctor: Doctor) -> Path:
    return doctor.root / "rings"


def test_this_machine(doctor: Doctor) -> None:
    found = doctor.findings()
    assert found["host"]["status"] == "ok"
    assert found["agent memory"]["status"] in ("ok", "limited")
    assert found["rings"] == {
        "subject": "rings",
        "status": "absent",
        "seen": found["rings"]["seen"],
        "why": "",
        "fix": "",
    }
    assert not (doctor.root / "rings").exists() and not (doctor.root / "state").exists(), "nothing is changed"


def test_text_is_aligned_and_plain(doctor: Doctor) -> None:
    done = doctor.run()
    head, empty, *lines = done.stdout.splitlines()
    assert head.startswith("node-a: ") and empty == ""
    assert "\x1b" not in done.stdout
    findings = [line for line in lines[: lines.index("")] if not line.startswith(" ")]
    assert {line.split()[0] for line in findings} <= {"ok", "absent", "limited", "broken"}
    assert len({len(line) - len(line[9:].split("  ", 1)[1].lstrip()) for line in findings}) == 1


@pytest.mark.parametrize(
    ("flag", "checks"),
    [
        ("--web.listen-address=foo", {"web"}),
        ("--path.procfs=/etc/hostname", {"host", "processes", "owners", "sources"}),
        ("--path.sysfs=/etc/hostname", {"gpu", "rdma", "host", "sources"}),
        ("--path.rootfs=/nonexistent", {"owners"}),
        ("--tuner.url=foo", {"tuner"}),
        ("--rings.directory=/etc/hostname", {"rings"}),
        ("--node=", set()),
        ("--peak.flops=0", set()),
        ("--rings.retention=soon", set()),
    ],
)
def test_flags_that_no_agent_would_start_with(doctor: Doctor, flag: str, checks: set[str]) -> None:
    found = doctor.findings(flag)
    name = flag.partition("=")[0]
    assert (found["settings"]["status"], found["settings"]["fix"]) == ("broken", f"correct {name}")
    others = {subject for subject, finding in found.items() if finding["fix"] == "see settings"}
    assert checks <= others and {found[subject]["why"] for subject in others} <= {f"{name} is wrong"}
    wrong = ("fault of doctor", "psi=1", "install -d", "report it")
    assert not any(word in finding["fix"] for finding in found.values() for word in wrong)


def test_it_takes_the_agents_flags(doctor: Doctor) -> None:
    words = "--compat=node_exporter --peak.flops=1e15 --rings.retention=2h --limits.series=9 --log.level=debug"
    assert "settings" not in doctor.findings(*words.split(), "--ethtool.include=rx_")


@needs_nobody
def test_a_user_without_rights(doctor: Doctor) -> None:
    (doctor.root / "rings").mkdir(mode=0o755)
    (doctor.root / "state").mkdir(mode=0o700)
    found = doctor.findings(
        "--tuner.url=http://127.0.0.1:9", f"--spool.directory={doctor.root}/state/a", before=NOBODY
    )
    assert found["rings"]["why"] == f"permission denied at {doctor.root}/rings"
    assert found["rings"]["fix"].startswith("install -d -m 3777 -o 65534 -g 65534 ")
    assert found["state"]["status"] == "limited"
    assert found["spool"]["why"] == "permission denied: the agent does not start"
    assert found["tuner"]["why"] == "connection refused"


@needs_nobody
def test_rings_of_others(doctor: Doctor, trainer: Any) -> None:
    trainer(rank=0)
    found = doctor.findings(before=NOBODY)
    assert (found["rings"]["status"], found["rings"]["seen"]) == ("limited", "1 of 1 not readable")
    assert "0640" in found["rings"]["why"]


@needs_mounts
@pytest.mark.parametrize(
    ("size", "status", "why"),
    [("64k", "broken", "a ring takes 2.2 MiB, 0.1 MiB are free"), ("8m", "limited", "room for 3 of the 8 rings")],
)
def test_a_small_tmpfs(doctor: Doctor, size: str, status: str, why: str) -> None:
    rings = doctor.root / "rings"
    rings.mkdir()
    found = doctor.mounted(f"mount -t tmpfs -o size={size},mode=1777 tmpfs {shlex.quote(str(rings))}")
    assert found["rings"]["status"] == status
    assert why in found["rings"]["why"]
    assert found["rings"]["fix"]


@needs_mounts
def test_a_read_only_file_system(doctor: Doctor) -> None:
    place = doctor.root / "root"
    place.mkdir()
    found = doctor.mounted(f"mount -t tmpfs -o ro tmpfs {place}", f"--state.directory={place}/state")
    assert found["state"]["why"].startswith(f"read-only file system at {place}: counters begin anew")


@needs_mounts
@needs_nobody
def test_processes_of_others_hidden(doctor: Doctor) -> None:
    found = doctor.mounted("mount -t proc -o hidepid=2,gid=7 proc /proc", before=NOBODY)
    assert found["processes"]["status"] == "limited"
    assert "hidepid=2" in found["processes"]["why"]


@needs_mounts
def test_a_pid_namespace_of_its_own(doctor: Doctor, trainer: Any) -> None:
    trainer(rank=0)
    found = doctor.findings(before=["unshare", "--pid", "--fork", "--mount-proc"])
    assert "1 of live ranks" in found["rings"]["seen"], "a lock is seen across namespaces"
    assert (found["processes"]["status"], found["processes"]["fix"]) == (
        "limited",
        "start the container with --pid host",
    )
    assert "1 live rank not among them" in found["processes"]["seen"]


@needs_mounts
def test_a_network_namespace_of_its_own(doctor: Doctor) -> None:
    script = 'mount -t sysfs sysfs /sys && exec "$@"'
    before = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"]
    found = doctor.findings(before=before)
    assert (found["network"]["status"], found["network"]["fix"]) == (
        "limited",
        "start the container with --network host",
    )


@pytest.fixture
def gpus(doctor: Doctor, driver: Driver) -> Driver:
    """The doctor is on a machine with eight GPUs and ten NICs, and with the kernel log of this one."""
    dgx(doctor.root / "sys")
    (doctor.root / "root" / "dev").mkdir(parents=True)
    (doctor.root / "root" / "dev" / "kmsg").write_text("6,1,1000,-;Linux\n6,2,2000,-;Command line\n")
    doctor.flags += [f"--path.sysfs={doctor.root}/sys", f"--path.rootfs={doctor.root}/root"]
    doctor.environment |= driver.environment
    return driver


MACHINES_OWN = ("host", "pressure", "agent memory", "processes", "training", "sources")
"""Subjects that this machine answers in words of its own."""


@pytest.mark.slow
@pytest.mark.usefixtures("gpus")
def test_golden_report(doctor: Doctor, trainer: Any) -> None:
    """All that is printed of a healthy machine; `UPDATE_GOLDEN=1` writes it anew."""
    (doctor.root / "rings").mkdir()
    (doctor.root / "rings").chmod(0o1777)
    trainer(rank=0)

    def report() -> str:
        _, _, *told, _, _ = doctor.run().stdout.splitlines()
        lines = [line for line in told if not line[9:].startswith(MACHINES_OWN)]
        return re.sub(r"[\d,]+ MiB free", "N MiB free", "\n".join(lines).replace(str(doctor.root), "DIR")) + "\n"

    golden = Path(__file__).parents[1] / "golden" / "doctor.text"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(report())
    for _ in range(5):  # where the machine is busy, something may not answer in time
        text = report()
        if text == golden.read_text():
            break
    assert text == golden.read_text()


@pytest.mark.slow
def test_a_gpu_that_is_lost(doctor: Doctor, gpus: Driver) -> None:
    gpus.set(lost=[3])
    found = doctor.findings()["gpu"]
    assert (found["status"], found["seen"].startswith("7 of 8 GPUs, driver 580.95.05")) == ("limited", True)


@pytest.mark.slow
def test_a_driver_that_hangs(doctor: Doctor, gpus: Driver) -> None:
    gpus.set(hang="nvmlInitWithFlags")
    found = doctor.findings()
    assert (found["gpu"]["status"], found["gpu"]["seen"]) == ("broken", "8 GPUs on the PCI bus, none to NVML")
    assert found["gpu"]["why"] == "the driver does not answer, and the call cannot be interrupted"
    assert found["rdma"]["status"] == found["kernel log"]["status"] == "ok", "it costs the GPUs only"


def test_a_library_newer_than_the_driver(doctor: Doctor, gpus: Driver) -> None:
    gpus.set(mode="mismatch")
    found = doctor.findings()["gpu"]
    assert (found["status"], "different versions" in found["why"]) == ("broken", True)
    assert "rmmod" in found["fix"]


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="here is a driver")
def test_gpus_without_a_driver(doctor: Doctor, gpus: Driver) -> None:
    gpus.set(mode="not_loaded")
    found = doctor.findings()["gpu"]
    assert (found["status"], found["seen"]) == ("broken", "8 GPUs on the PCI bus, none to NVML")
    assert found["why"].startswith("the kernel module nvidia is not loaded")
    assert found["fix"].endswith("modprobe nvidia")


@pytest.mark.slow
def test_a_kubelet_that_does_not_answer(doctor: Doctor, gpus: Driver) -> None:
    directory = doctor.root / "root" / "var/lib/kubelet/pod-resources"
    directory.mkdir(parents=True)
    found = doctor.findings()["kubelet"]
    assert (found["status"], found["why"]) == ("limited", "missing")
    assert found["fix"] == "is the kubelet running?"


@pytest.mark.slow
def test_a_pod_without_the_kubelets_directory(doctor: Doctor, gpus: Driver) -> None:
    doctor.environment["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    found = doctor.findings()["kubelet"]
    assert found["status"] == "limited"
    assert (
        found["fix"]
        == f"mount hostPath /var/lib/kubelet/pod-resources at {doctor.root}/root/var/lib/kubelet/pod-resources"
    )


def test_a_file_of_a_port_that_fails(doctor: Doctor) -> None:
    _, devices = dgx(doctor.root / "sys")
    devices[3].fail("counters/port_xmit_data")
    found = doctor.findings(f"--path.sysfs={doctor.root}/sys")["rdma"]
    assert found["seen"].startswith(
        "10 devices, 10 ports (2 Ethernet, 8 InfiniBand), 10 active; 1 device with files"
    )
    assert found["why"] == "mlx5_3/ports/1/counters/port_xmit_data: EINVAL"
    assert "mlx5_3" in found["fix"]


@pytest.mark.slow
def test_a_nic_whose_module_is_not_loaded(doctor: Doctor) -> None:
    tree, devices = dgx(doctor.root / "sys")
    for device in devices:
        device.remove()
    found = doctor.findings(f"--path.sysfs={tree.root}")["rdma"]
    assert (found["status"], found["why"]) == ("limited", "the module mlx5_ib is not loaded")
    (tree.root / "module/mlx5_ib").mkdir(parents=True)
    found = doctor.findings(f"--path.sysfs={tree.root}")["rdma"]
    assert "another network namespace" in found["why"]


@pytest.mark.skipif(
    Path("/proc/sys/kernel/dmesg_restrict").read_text() != "1\n"
    or not can("setpriv", "--bounding-set=-syslog", "true"),
    reason="the kernel log is open to all, or this user cannot give up a capability",
)
def test_a_kernel_log_that_is_closed(doctor: Doctor) -> None:
    dgx(doctor.root / "sys")
    without = ["setpriv", "--bounding-set=-syslog", "--inh-caps=-syslog"]
    found = doctor.findings(f"--path.sysfs={doctor.root}/sys", before=without)
    assert found["kernel log"]["status"] == "limited"
    assert found["kernel log"]["why"] == "kernel.dmesg_restrict is 1, and root has no CAP_SYSLOG"
    assert "SYSLOG" in found["kernel log"]["fix"]
