"""XIDs: the faults that NVIDIA's driver reports, counted once each, across restarts of the agent.

Two streams tell of them: NVML's events, which need no permission but miss what happens while NVML is wedged (79,
119 and 120 by their nature: NVIDIA/DCGM#162), and the kernel's log, which has them all but may not be readable.
Where both are there a count is that of the kernel's lines: one exception of code 13 takes several of them.

The kernel's log also holds what happened while no agent ran: its position is kept with the counts, in one
document, so that nothing is counted twice and nothing is left out. An agent that finds no document counts all
that the log holds: so it shows about what it showed before, and no alert fires at its start.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ...kept import Kept
from ...metrics import Family, Labels, Samples
from ..board import Gpu
from ..contract import World
from .kernel_log import KernelLog, Record
from .xid_codes import ALERTED, action
from .xid_lines import NO_RECOVERY, Named, Sxid, Xid, parse, pci_address
from .xid_pairs import Pairs
from .xid_tally import Tally

log = logging.getLogger(__name__)

XIDS = Family(
    "paceline_gpu_xid_total",
    "XIDs by code, with the class of what to do by NVIDIA's catalogue.",
    "counter",
    "",
    ("uuid", "xid", "action"),
)
LAST_XID = Family(
    "paceline_gpu_last_xid_timestamp_seconds", "Unix time of the latest XID.", "gauge", "seconds", ("uuid",)
)
RECOVERY = Family(
    "paceline_gpu_xid_recovery_info",
    "What the driver asks for since XID 154, in its words; gone once it asks for nothing.",
    "info",
    "",
    ("uuid", "action"),
)
SXIDS = Family(
    "paceline_nvswitch_sxid_total",
    "Faults of NVSwitches, from the kernel's log.",
    "counter",
    "",
    ("pci", "sxid", "fatal"),
)
LOG_READABLE = Family(
    "paceline_gpu_kernel_log_readable", "1 if XIDs are also read from the kernel's log.", "gauge"
)
LOG_LOST = Family(
    "paceline_gpu_kernel_log_lost_total",
    "Records of the kernel's log that were overwritten before they were read.",
    "counter",
)

SAVE_SECONDS = 5.0
"""Least time between two writes of the state: a storm of XIDs must not become one of fsync."""
UUID_LINE = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-fA-F-]{36})\s*$", re.MULTILINE)


class XidLedger:
    """Counts XIDs and SXIDs. All calls come from one thread, the gpu source's."""

    families = (XIDS, LAST_XID, RECOVERY, SXIDS, LOG_READABLE, LOG_LOST)

    def __init__(
        self,
        kept: Kept,
        world: World,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.log = KernelLog(world.rootfs / "dev/kmsg")
        self._kept = kept
        self._clock = clock
        self._wall = wall
        self._gpus = world.procfs / "driver/nvidia/gpus"
        self._boot = _boot_id(world)
        self._xids = Tally()
        self._sxids = {True: Tally(), False: Tally()}
        self._pairs = Pairs()
        self._last: dict[str, float] = {}
        self._recovery: dict[str, str] = {}
        self._uuids: dict[str, str] = {}
        self._uuids_before: dict[str, str] = {}
        self._next_record = 0
        self._caught_up = False
        self._changed = True  # once in any case: the next agent is to know that there was one
        self._saved_at = clock()
        self._resumes = self._load(kept.load())

    def from_driver(self, uuid: str, code: int, wall: float) -> None:
        """An NVML event: GPU (of a MIG instance, its parent), XID, Unix time of its arrival in seconds."""
        if self._pairs.is_news("driver", (uuid, code), self._clock()):
            self._count(uuid, code, news=True)
        self._seen(uuid, wall)

    def from_kernel(self, record: Record) -> None:
        """A record of the kernel's log; what another program wrote there, or was taken before, is passed over."""
        if record.sequence < self._next_record:
            return
        self._next_record = record.sequence + 1
        found = parse(record.text) if record.from_kernel else None
        match found:
            case Named():
                self._learn(found.pci, found.uuid)
            case Xid():
                self._xid(found, record)
            case Sxid():
                self._sxids[found.fatal].add((found.pci, found.code), self._hold_from(self._is_news()))
                self._changed = True

    def poll_kernel_log(self) -> None:
        """Take what is new in the kernel's log."""
        for record in self.log.read():
            self.from_kernel(record)
        self._caught_up = self._caught_up or self.log.problem is None

    def add_to(self, samples: Samples, gpus: Sequence[Gpu], known: Iterable[str] = ()) -> None:
        """Every count; for each GPU listed, and those of which only the UUID is known, all codes that people
        alert on, from 0: a lost GPU's come when it is lost. Nothing where there is no GPU and never was one."""
        whole = [gpu for gpu in gpus if not gpu.parent]
        for gpu in whole:
            self._learn(pci_address(gpu.pci), gpu.uuid)
        uuids = dict.fromkeys((*(gpu.uuid for gpu in whole), *known))
        if uuids or self._xids.counts:
            samples.add(LOG_READABLE, int(self.log.problem is None))
            samples.add(LOG_LOST, self.log.lost)
        now = self._clock()
        foreseen = [(uuid, code) for uuid in uuids for code in ALERTED]
        for uuid, code in dict.fromkeys((*foreseen, *sorted(self._xids.counts))):
            samples.points[XIDS][_labels(uuid, code)] = self._xids.shown((uuid, code), now)
        for uuid, wall in self._last.items():
            samples.add(LAST_XID, wall, uuid)
        for uuid, text in self._recovery.items():
            samples.add(RECOVERY, 1, uuid, text)
        for fatal, tally in self._sxids.items():
            for pci, code in sorted(tally.counts):
                samples.add(SXIDS, tally.shown((pci, code), now), pci, str(code), str(fatal).lower())

    def save(self) -> None:
        """Keep what changed, unless that was done a moment ago."""
        if self._clock() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def close(self) -> None:
        """Keep what changed and close the log."""
        self._save()
        self.log.close()

    def _xid(self, xid: Xid, record: Record) -> None:
        uuid = self._uuid(xid.pci)
        now = self._clock()
        # A record is told of when it is read; one from before this agent, when it was written.
        at = now if self._caught_up else min(record.seconds, now)
        if self._pairs.is_news("kernel", (uuid, xid.code), at):
            self._count(uuid, xid.code, self._is_news())
        self._seen(uuid, self._wall() - (now - at))
        if xid.recovery == NO_RECOVERY:
            self._recovery.pop(uuid, None)
        elif xid.recovery:
            self._recovery[uuid] = xid.recovery

    def _count(self, uuid: str, code: int, news: bool) -> None:
        self._xids.add((uuid, code), self._hold_from(news and code not in ALERTED))

    def _is_news(self) -> bool:
        """Whether what the log holds came after what those who scrape have seen."""
        return self._caught_up or self._resumes

    def _hold_from(self, hold: bool) -> float | None:
        return self._clock() if hold else None

    def _seen(self, uuid: str, wall: float) -> None:
        self._last[uuid] = max(wall, self._last.get(uuid, wall))
        self._changed = True

    def _learn(self, pci: str, uuid: str) -> None:
        if self._uuids.get(pci) != uuid:
            self._uuids[pci] = uuid
            self._xids.rename(pci, uuid)
            if pci in self._last:
                self._seen(uuid, self._last.pop(pci))
            if pci in self._recovery:
                self._recovery[uuid] = self._recovery.pop(pci)
            self._changed = True

    def _uuid(self, pci: str) -> str:
        """The GPU at an address, or the address where nobody knows it: a GPU that is off the bus has left procfs,
        and one that never answered is not in the state."""
        if pci not in self._uuids:
            try:
                match = UUID_LINE.search((self._gpus / pci / "information").read_text())
            except OSError:
                match = None
            if match is None:
                return self._uuids_before.get(pci, pci)
            self._learn(pci, match[1])
        return self._uuids[pci]

    def _save(self) -> None:
        if not self._changed:
            return
        self._changed, self._saved_at = False, self._clock()
        self._kept.save(
            {
                "boot": self._boot,
                "next_record": self._next_record,
                "xids": self._xids.encode(),
                "sxids_fatal": self._sxids[True].encode(),
                "sxids_other": self._sxids[False].encode(),
                "last": self._last,
                "uuids": {**self._uuids_before, **self._uuids},
                "recovery": self._recovery,
                "open": self._pairs.encode(),
            }
        )

    def _load(self, document: Mapping[str, Any]) -> bool:
        """Take up the counts; the position in the log, and what else is of one boot, only in that boot."""
        if not document:
            return False
        try:
            xids, fatal, other = (Tally(document[key]) for key in ("xids", "sxids_fatal", "sxids_other"))
            last, uuids, recovery = (dict(document[key]) for key in ("last", "uuids", "recovery"))
            same_boot, next_record = document["boot"] == self._boot, int(document["next_record"])
            pairs = Pairs(document["open"] if same_boot else ())
        except (KeyError, TypeError, ValueError) as error:
            log.warning("the XID counts that were kept are not usable (%r): they begin anew", error)
            return False
        self._xids, self._sxids, self._last = xids, {True: fatal, False: other}, last
        if same_boot:
            self._uuids, self._recovery, self._next_record, self._pairs = uuids, recovery, next_record, pairs
        else:
            self._uuids_before = uuids
        return True


@lru_cache(4096)
def _labels(uuid: str, code: int) -> Labels:
    return uuid, str(code), action(code)


def _boot_id(world: World) -> str:
    try:
        return (world.procfs / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
