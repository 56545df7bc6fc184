"""CPU time, load and tasks: /proc/stat and /proc/loadavg (proc_stat(5), proc_loadavg(5))."""

from __future__ import annotations

import os

from ...metrics import Family, Samples
from .files import Files

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""Guest time is left out: the kernel already counts it as user time."""
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
WINDOWS = ("1m", "5m", "15m")

CPU_SECONDS = Family(
    "paceline_host_cpu_seconds_total", "CPU time by mode, all CPUs together.", "counter", "seconds", ("mode",)
)
CPUS = Family("paceline_host_cpus", "CPUs the kernel schedules on.", "gauge")
LOAD = Family("paceline_host_load_average", "Runnable and waiting tasks, averaged.", "gauge", "", ("window",))
# Line of /proc/stat -> family
TASKS = {
    b"procs_running": Family("paceline_host_tasks_running", "Tasks that run or could run.", "gauge"),
    b"procs_blocked": Family("paceline_host_tasks_blocked", "Tasks that wait for I/O to complete.", "gauge"),
    b"ctxt": Family("paceline_host_context_switches_total", "Context switches.", "counter"),
    b"btime": Family("paceline_host_boot_time_seconds", "When the system booted, Unix time.", "gauge", "seconds"),
}


class Cpu:
    """The CPUs as the scheduler sees them."""

    families = (CPU_SECONDS, CPUS, LOAD, *TASKS.values())

    def __init__(self, procfs: Files) -> None:
        self._procfs = procfs
        self._ticks: dict[str, int] = {}

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        # With many CPUs this file is long and the kernel slow to write it: it is read once for all that is in it.
        lines = self._procfs.read("stat").split(b"\n")
        for mode, ticks in zip(CPU_MODES, lines[0].split()[1:], strict=False):
            # The kernel's iowait may fall (proc_stat(5)): what falls a little would be taken for a reset.
            self._ticks[mode] = max(int(ticks), self._ticks.get(mode, 0))
            samples.add(CPU_SECONDS, self._ticks[mode] / TICKS_PER_SECOND, mode)
        samples.add(CPUS, sum(line.startswith(b"cpu") for line in lines) - 1)
        for line in lines:
            name, _, value = line.partition(b" ")
            if name in TASKS:
                samples.add(TASKS[name], int(value))
        for window, load in zip(WINDOWS, self._procfs.read("loadavg").split(), strict=False):
            samples.add(LOAD, float(load), window)
