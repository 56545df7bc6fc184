"""The driver's control file: what the hardware does, and how the driver misbehaves."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .library import HERE, build

CONTROL = "PACELINE_NVML_STUB"
MAX_GPUS = 16
VALUES = frozenset(re.findall(r"^READING\((\w+)", (HERE / "readings.def").read_text(), re.MULTILINE))
"""Readings that `Settings.values` may replace; `readings.def` gives their units."""
EVERY_FUNCTION = "*"
WHOLE = -1

Mode = Literal["healthy", "not_loaded", "mismatch"]


@dataclass(frozen=True)
class Settings:
    """What the driver does. GPUs are named by their number, which outlives a change of NVML's indices."""

    gpus: int = 8
    mode: Mode = "healthy"
    """`not_loaded`: every call fails, as while the driver reloads; `mismatch`: init fails, as when the module on
    disk is newer than the one that runs."""
    driver_version: str = "580.95.05"
    generation: int = 0
    """A change is a reload: until the next init all calls fail, handles from before are lost for good, and
    counters begin anew. `Driver.set` changes it whenever the mode changes."""
    seconds: float | None = None
    """Since the driver was loaded, which readings depend on; None: as the clock says."""
    hang: str = ""
    """Function that blocks, and all others behind it, until the setting is gone; `*` for any."""
    hang_gpus: Sequence[int] = ()
    """Only calls about these GPUs hang; empty: all do."""
    slow: str = EVERY_FUNCTION
    """Function that takes `slow_ms`."""
    slow_ms: float = 0.0
    lost: Sequence[int] = ()
    """GPUs that answer every call with GPU_IS_LOST, their handle by index included; they still count."""
    gone: Sequence[int] = ()
    """GPUs that fell off the bus: they do not count, the indices of those behind them move up."""
    mig: Sequence[int] = ()
    """GPUs in MIG mode, with two instances (3g.40gb, 2g.20gb)."""
    ecc_storm: Sequence[int] = ()
    """GPUs whose ECC counters rise by the second."""
    unsupported: Sequence[str] = ()
    """Functions, or fields as `field:186`, or of one link as `field:163:4`, that are not supported."""
    failing: Sequence[str] = ()
    """Those that answer with NVML_ERROR_UNKNOWN."""
    xids: Sequence[tuple[int, int]] = ()
    """(GPU, code) of every event so far: append only. As with the real driver, an event reaches the event sets
    that are registered when it happens, and each of them once."""
    processes: Sequence[tuple[int, int, int]] = ()
    """(GPU, PID, bytes) of compute processes; those of a GPU in MIG mode are in its first instance."""
    values: Mapping[str, int | Mapping[int, int]] = field(default_factory=dict)
    """Readings, by name (`VALUES`), to replace on all GPUs, or by GPU."""
    pci_buses: Sequence[int] = (0x18, 0x40, 0x4F, 0x60, 0x9A, 0xC0, 0xCE, 0xDE)
    """Of the GPUs, as on an 8-GPU HGX board."""

    def __post_init__(self) -> None:
        unknown = self.values.keys() - VALUES
        if unknown:
            raise ValueError(f"no such readings: {', '.join(sorted(unknown))}")
        if not 0 <= self.gpus <= MAX_GPUS or len(self.pci_buses) < self.gpus:
            raise ValueError(f"gpus: {self.gpus} of {MAX_GPUS}, with {len(self.pci_buses)} PCI buses")

    def lines(self) -> Iterator[str]:
        """As the library reads them."""
        for name in ("gpus", "mode", "driver_version", "generation", "hang", "slow", "slow_ms"):
            if getattr(self, name) != "":
                yield f"{name} {getattr(self, name)}"
        yield f"seconds {-1 if self.seconds is None else self.seconds}"
        for name in ("lost", "gone", "mig", "ecc_storm", "hang_gpus", "unsupported", "failing"):
            yield from (f"{name} {one}" for one in getattr(self, name))
        yield from (f"pci {bus:x}" for bus in self.pci_buses)
        for gpu in range(self.gpus):
            yield from (f"uuid {gpu} {instance} {device_uuid(gpu, instance)}" for instance in (WHOLE, 0, 1))
        yield from (f"xid {number} {gpu} {code}" for number, (gpu, code) in enumerate(self.xids, 1))
        yield from (f"process {gpu} {pid} {memory}" for gpu, pid, memory in self.processes)
        for name, value in self.values.items():
            by_gpu = value if isinstance(value, Mapping) else dict.fromkeys(range(MAX_GPUS), value)
            yield from (f"value {name} {gpu} {number}" for gpu, number in by_gpu.items())


def device_uuid(gpu: int, instance: int = WHOLE) -> str:
    """Of a GPU, or of one of its MIG instances; the same on every machine."""
    unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{gpu} {instance}")
    return f"GPU-{unique}" if instance == WHOLE else f"MIG-{unique}"


class Driver:
    """A driver of its own for the processes that get its `environment`."""

    def __init__(self, directory: Path, *, builds: Path | None = None, absent: Sequence[str] = ()) -> None:
        """Its control file lies in `directory`, the library below `builds` (default: there too). Functions that
        are `absent` are not in the library at all. Raises NoCompiler."""
        self.library = build(builds or directory, absent)
        self.settings = Settings()
        self._control = directory / "nvml-stub"
        self._started = time.monotonic()
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """For the process that loads NVML, or its parent."""
        search = [str(self.library.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        return {"LD_LIBRARY_PATH": os.pathsep.join(search), CONTROL: str(self._control)}

    def set(self, **changes: Any) -> None:
        """Change settings, at any time: running processes notice at their next call. Raises TypeError for unknown
        settings, ValueError for impossible ones."""
        fresh = replace(self.settings, **changes)
        if fresh.mode != self.settings.mode and "generation" not in changes:
            fresh = replace(fresh, generation=self.settings.generation + 1)
        if fresh.generation != self.settings.generation:
            self._started = time.monotonic()
        self.settings = fresh
        self._write()

    def healthy(self) -> None:
        """All settings as at first; events that happened stay."""
        first = Settings()
        kept = {"generation", "xids"}
        self.set(**{name: getattr(first, name) for name in Settings.__dataclass_fields__ if name not in kept})

    def reload(self) -> None:
        """The driver was unloaded and loaded again, too fast for anyone to see it away."""
        self.set(generation=self.settings.generation + 1)

    def xid(self, gpu: int, code: int) -> None:
        """An event, now."""
        self.set(xids=[*self.settings.xids, (gpu, code)])

    def _write(self) -> None:
        fresh = self._control.with_suffix(".new")
        fresh.write_text("\n".join([*self.settings.lines(), f"started {self._started}", ""]))
        fresh.replace(self._control)
