from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_exporters.kept import Kept
from paceline_exporters.metrics import Renderer, Samples, exposition
from paceline_exporters.sources.board import Gpu
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu.xid import SAVE_SECONDS, XIDS, XidLedger
from paceline_exporters.sources.gpu.xid_codes import ACTIONS, ALERTED, CODES_BY_ACTION, action
from paceline_exporters.sources.gpu.xid_pairs import WINDOW_SECONDS
from paceline_exporters.sources.gpu.xid_tally import HOLD_SECONDS

A = Gpu("GPU-0000aaaa-9798-a6e7-4c46-12518fa15375", 0, "0000:3b:00.0")
B = Gpu("GPU-0000bbbb-9798-a6e7-4c46-12518fa15375", 1, "0000:5e:00.0")
SLICE = Gpu("MIG-1", 0, A.pci, parent=A.uuid)
WALL = 1_700_000_000.0


class Machine:
    """A node whose kernel log and clock the test writes, and the agents that run on it one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1000.0
        self.ledger: XidLedger
        self._sequence = 0
        self._kmsg = root / "dev/kmsg"
        self._kmsg.parent.mkdir(parents=True)
        self.boot("boot-1")

    def boot(self, name: str) -> None:
        self._sequence = 0
        self._kmsg.write_text("")
        (self.root / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        (self.root / "sys/kernel/random/boot_id").write_text(f"{name}\n")

    def agent(self, state: bool = True) -> XidLedger:
        """A new agent's ledger."""
        world = World(procfs=self.root, rootfs=self.root)
        kept = Kept(self.root / "state" if state else None, "xid")
        self.ledger = XidLedger(kept, world, clock=lambda: self.now, wall=lambda: WALL + self.now)
        return self.ledger

    def kernel(self, text: str, facility: int = 0) -> None:
        with self._kmsg.open("a") as log:
            log.write(f"{facility * 8 + 3},{self._sequence},{int(self.now * 1e6)},-;{text}\n")
        self._sequence += 1

    def xid(self, code: int, pci: str = A.pci, message: str = "pid=1, name=python, text") -> None:
        self.kernel(f"NVRM: Xid (PCI:{pci.removesuffix('.0')}): {code}, {message}")

    def knows(self, gpu: Gpu) -> None:
        """As the driver's procfs does."""
        directory = self.root / "driver/nvidia/gpus" / gpu.pci
        directory.mkdir(parents=True)
        (directory / "information").write_text(
            f"Model: \t\t NVIDIA H100\nGPU UUID: \t {gpu.uuid}\nVideo BIOS: 1\n"
        )

    def samples(self, *gpus: Gpu) -> Samples:
        samples = Samples()
        self.ledger.poll_kernel_log()
        self.ledger.add_to(samples, gpus)
        return samples

    def counts(self, *gpus: Gpu) -> dict[tuple[str, int], int]:
        """What is not 0."""
        points = self.samples(*gpus).points[XIDS].items()
        return {(uuid, int(code)): int(str(value)) for (uuid, code, _), value in points if value}

    def text(self, *gpus: Gpu) -> str:
        section = Renderer(XidLedger.families, 1000).render(self.samples(*gpus))
        return exposition([section], "text").decode()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    one = Machine(tmp_path)
    one.agent()
    yield one
    one.ledger.close()


def test_every_gpu_starts_at_0_for_what_people_alert_on(machine: Machine) -> None:
    points = machine.samples(A, B, SLICE).points[XIDS]
    assert set(points.values()) == {0}
    assert {uuid for uuid, _, _ in points} == {A.uuid, B.uuid}
    assert len(points) == 2 * len(ALERTED)
    assert (A.uuid, "79", "restart_bm") in points
    assert (A.uuid, "94", "restart_app") in points


def test_where_there_is_no_gpu_nothing_is_shown(machine: Machine) -> None:
    assert machine.samples().points == {}


def test_an_xid_told_by_both_streams_counts_once(machine: Machine) -> None:
    machine.samples(A)
    machine.ledger.from_driver(A.uuid, 79, WALL)
    machine.xid(79)
    assert machine.counts(A) == {(A.uuid, 79): 1}
    machine.now += 1
    machine.xid(79)
    assert machine.counts(A) == {(A.uuid, 79): 2}
    machine.ledger.from_driver(A.uuid, 79, WALL)
    assert machine.counts(A) == {(A.uuid, 79): 2}


def test_a_burst_in_both_streams_counts_in_full(machine: Machine) -> None:
    machine.samples(A)
    for _ in range(10):
        machine.xid(31)
    machine.ledger.poll_kernel_log()
    for _ in range(10):
        machine.ledger.from_driver(A.uuid, 31, WALL)
    assert machine.counts(A) == {(A.uuid, 31): 10}


@settings(max_examples=25)
@given(st.permutations(["driver"] * 8 + ["kernel"] * 8), st.booleans())
def test_any_interleaving_with_a_restart_in_between(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], known: bool
) -> None:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    if known:
        machine.knows(A)
    else:
        machine.kernel(f"NVRM: GPU at PCI:{A.pci.removesuffix('.0')}: {A.uuid}")
    machine.agent()
    machine.ledger.poll_kernel_log()
    for index, stream in enumerate(order):
        if index == len(order) // 2:
            machine.ledger.close()
            machine.agent()
        if stream == "driver":
            machine.ledger.from_driver(A.uuid, 48, WALL)
        else:
            machine.xid(48)
            machine.ledger.poll_kernel_log()
        machine.now += WINDOW_SECONDS / len(order) / 2
    assert machine.counts(A) == {(A.uuid, 48): 8}
    machine.ledger.close()


def test_a_code_nobody_foresaw_is_0_first(machine: Machine) -> None:
    machine.samples(A)
    machine.xid(151)
    assert f'paceline_gpu_xid_total{{uuid="{A.uuid}",xid="151",action="restart_vm"}} 0\n' in machine.text(A)
    machine.now += HOLD_SECONDS / 2
    machine.xid(151)
    assert machine.counts(A) == {}
    machine.now += HOLD_SECONDS / 2
    assert machine.counts(A) == {(A.uuid, 151): 2}
    machine.xid(151)
    assert machine.counts(A) == {(A.uuid, 151): 3}, "known by now"


def test_a_code_people_alert_on_counts_at_once(machine: Machine) -> None:
    machine.samples(A)
    machine.ledger.from_driver(A.uuid, 79, WALL)
    assert machine.counts(A) == {(A.uuid, 79): 1}


def test_counts_outlive_the_agent_and_what_it_missed_is_counted_once(machine: Machine) -> None:
    machine.samples(A)
    machine.xid(79)
    machine.counts(A)
    machine.ledger.close()
    machine.now += 3600
    machine.xid(79)
    machine.xid(63)
    for _ in range(2):
        machine.agent()
        assert machine.counts(A) == {(A.uuid, 79): 2, (A.uuid, 63): 1}
        machine.ledger.close()


def test_an_agent_that_was_killed_counts_again_from_what_was_kept(machine: Machine) -> None:
    machine.samples(A)
    machine.xid(79)
    machine.counts(A)
    machine.now += SAVE_SECONDS
    machine.ledger.save()
    machine.xid(79)
    machine.counts(A)
    machine.ledger.save()  # too soon: not kept
    machine.ledger.log.close()
    machine.agent()
    assert machine.counts(A) == {(A.uuid, 79): 2}


def test_the_state_is_written_at_most_every_few_seconds(machine: Machine, tmp_path: Path) -> None:
    kept = tmp_path / "state/xid.json"
    machine.ledger.save()
    assert not kept.exists()
    machine.now += SAVE_SECONDS
    machine.ledger.save()
    before = kept.stat().st_ino
    machine.now += SAVE_SECONDS
    machine.ledger.save()
    assert kept.stat().st_ino == before, "nothing changed"
    machine.xid(13)
    machine.counts(A)
    machine.ledger.save()
    assert kept.stat().st_ino != before


def test_a_reboot_keeps_the_counts_and_counts_the_new_log(machine: Machine) -> None:
    machine.samples(A)
    machine.xid(154, message="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    machine.xid(79)
    machine.samples(A)
    machine.ledger.close()
    machine.boot("boot-2")
    machine.now = 20.0
    machine.xid(79)
    machine.agent()
    text = machine.text(A)
    assert 'xid="79",action="restart_bm"} 2\n' in text
    assert "recovery_info" not in text, "the reboot was it"


def test_without_a_document_the_whole_log_counts_at_once(machine: Machine) -> None:
    machine.xid(79)
    machine.xid(151)
    machine.agent(state=False)
    assert machine.counts(A) == {(A.uuid, 79): 1, (A.uuid, 151): 1}
    machine.ledger.close()
    machine.agent(state=False)
    assert machine.counts(A) == {(A.uuid, 79): 1, (A.uuid, 151): 1}


@pytest.mark.parametrize(
    "document", [{"boot": "boot-1"}, {"xids": 3}, {"xids": [["a"]]}, {"xids": [["a", "b", "c"]]}]
)
def test_an_unusable_document_is_said_and_left(
    machine: Machine, tmp_path: Path, document: object, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/xid.json").write_text(json.dumps(document))
    machine.xid(79)
    with caplog.at_level(logging.WARNING):
        machine.agent()
    assert "begin anew" in caplog.text
    assert machine.counts(A) == {(A.uuid, 79): 1}


def test_a_process_cannot_forge_an_xid(machine: Machine) -> None:
    machine.samples(A)
    machine.kernel("NVRM: Xid (PCI:0000:3b:00): 79, pid=1, name=a, forged", facility=1)
    assert machine.counts(A) == {}


def test_the_uuid_is_found_in_procfs(machine: Machine) -> None:
    machine.knows(A)
    machine.xid(79)
    assert machine.counts() == {(A.uuid, 79): 1}


def test_the_uuid_is_found_in_the_log_itself(machine: Machine) -> None:
    machine.kernel(f"NVRM: GPU at PCI:0000:3b:00: {A.uuid}")
    machine.xid(79)
    assert machine.counts() == {(A.uuid, 79): 1}


def test_the_uuid_is_found_in_the_state_of_an_earlier_boot(machine: Machine) -> None:
    machine.samples(A)
    machine.xid(79)
    machine.samples(A)
    machine.ledger.close()
    machine.boot("boot-2")
    machine.agent()
    machine.xid(62)
    assert machine.counts() == {(A.uuid, 79): 1, (A.uuid, 62): 1}


def test_an_unknown_gpu_is_its_address_until_it_is_known(machine: Machine) -> None:
    machine.xid(79)
    machine.xid(154, message="GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)")
    assert machine.counts() == {(A.pci, 79): 1, (A.pci, 154): 1}
    text = machine.text(A)
    assert A.pci not in text
    assert f'paceline_gpu_xid_recovery_info{{uuid="{A.uuid}",action="GPU Reset Required"}} 1\n' in text
    assert f'paceline_gpu_last_xid_timestamp_seconds{{uuid="{A.uuid}"}} {WALL + machine.now}\n' in text
    assert machine.counts(A) == {(A.uuid, 79): 1, (A.uuid, 154): 1}


def test_a_gpu_that_is_gone_keeps_its_counts(machine: Machine) -> None:
    machine.samples(A, B)
    machine.xid(79, B.pci)
    assert machine.counts(A) == {(B.uuid, 79): 1}


def test_the_recovery_action_goes_when_it_is_taken_back(machine: Machine) -> None:
    machine.samples(A)
    machine.xid(154, message="GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)")
    assert 'action="GPU Reset Required"} 1\n' in machine.text(A)
    machine.xid(154, message="GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)")
    assert "recovery_info" not in machine.text(A)


def test_the_time_of_the_latest(machine: Machine) -> None:
    machine.xid(13)
    machine.now += 500
    machine.agent()
    gauge = f'paceline_gpu_last_xid_timestamp_seconds{{uuid="{A.uuid}"}} '
    assert f"{gauge}{WALL + machine.now - 500}\n" in machine.text(A), "when it was logged, not when it was read"
    machine.ledger.from_driver(A.uuid, 13, WALL + machine.now + 1)
    assert f"{gauge}{WALL + machine.now + 1}\n" in machine.text(A)


def test_switches(machine: Machine) -> None:
    machine.samples(A)
    for text in (
        "28006, Non-fatal, Link 46",
        "28006, Severity 0 Engine",
        "28006, Data {0x0}",
        "20034, Fatal, Link",
    ):
        machine.kernel(f"nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): {text}")
    first = machine.text(A)
    assert 'paceline_nvswitch_sxid_total{pci="0000:c1:00.0",sxid="28006",fatal="false"} 0\n' in first
    machine.now += HOLD_SECONDS
    later = machine.text(A)
    assert 'paceline_nvswitch_sxid_total{pci="0000:c1:00.0",sxid="28006",fatal="false"} 1\n' in later
    assert 'paceline_nvswitch_sxid_total{pci="0000:c1:00.0",sxid="20034",fatal="true"} 1\n' in later


def test_a_log_that_cannot_be_read_is_told(machine: Machine, tmp_path: Path) -> None:
    assert "paceline_gpu_kernel_log_readable 1\n" in machine.text(A)
    machine.ledger.close()
    (tmp_path / "dev/kmsg").unlink()
    machine.agent()
    text = machine.text(A)
    assert "paceline_gpu_kernel_log_readable 0\n" in text
    assert "paceline_gpu_kernel_log_lost_total 0\n" in text
    machine.ledger.from_driver(A.uuid, 79, WALL)
    machine.ledger.from_driver(A.uuid, 79, WALL)
    assert machine.counts(A) == {(A.uuid, 79): 2}, "one stream is enough"


def test_each_code_has_one_action() -> None:
    assert len(ACTIONS) == sum(map(len, CODES_BY_ACTION.values()))
    assert len(ALERTED) == len(set(ALERTED)) == 24
    assert (action(79), action(48), action(31), action(9999)) == (
        "restart_bm",
        "reset_gpu",
        "restart_app",
        "contact_support",
    )
