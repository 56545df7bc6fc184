"""GPUs: how many answer of those that are here, with what, and what stands between NVML and the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu import families as of

from . import pci
from .driver import Cause, cause
from .finding import Finding, count
from .sampling import Sampled
from .visit import Visit

SUBJECT = "gpu"
GPM = "sm_active_ratio"
"""A reading that only GPM gives."""
GPM_SECONDS = 4.0
"""It tells what happened between two readings, which are 2 s apart."""
LOOK = "dmesg | grep -i -e nvrm -e xid"
DOWN: Mapping[str, str] = {
    "lost": f"{LOOK}; drain the node, then nvidia-smi --gpu-reset -i UUID or reboot",
    "missing": f"lspci -d 10de: and {LOOK} tell whether it fell off the bus; reboot",
    "hung": f"{LOOK}; drain the node and reboot",
    "driver": "systemctl restart nvidia-persistenced; modprobe nvidia",
    "stale": f"{LOOK}; if the node is merely overloaded, give the agent CPU",
}
"""Label `reason` of paceline_gpu_down_info -> what to do."""
SAID: Mapping[str, Cause] = {
    "lib_rm_version_mismatch": Cause(
        "library and kernel module are of different versions: the driver was upgraded under running processes",
        "stop what uses GPUs; rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia; modprobe nvidia (or reboot)",
    ),
}
"""NVML's word for why there is no driver, where that alone tells."""


def settled(world: World, sampled: Mapping[str, Sampled], seconds: float) -> bool:
    """Whether another look would tell more: the driver is still starting, or GPM has not had its two readings."""
    gpu = sampled["gpu"]
    if gpu.problem is not None:
        return True
    if not world.board.gpus:
        return not pci.gpus(world.sysfs)
    return seconds >= GPM_SECONDS or bool(gpu.of(of.GPU[GPM]) or gpu.of(of.MIG[GPM]))


def examine(visit: Visit) -> Iterator[Finding]:
    """What the source shows, against the PCI bus."""
    sampled = visit.sampled["gpu"]
    listed = [gpu for gpu in visit.world.board.gpus or () if not gpu.parent]
    if sampled.one(of.NVML_AVAILABLE) and listed:
        yield _present(sampled, len(visit.world.board.gpus or ()) - len(listed))
        return
    here = pci.gpus(visit.world.sysfs)
    if not here:
        yield Finding(SUBJECT, "absent", "no NVIDIA GPU on the PCI bus")
        return
    found = _cause(visit, sampled.problem)
    yield Finding(
        SUBJECT, "broken", f"{count(len(here), 'GPU')} on the PCI bus, none to NVML", found.why, found.fix
    )


def _present(sampled: Sampled, instances: int) -> Finding:
    up = sum(sampled.of(of.UP).values())
    expected = max(sampled.one(of.GPUS_EXPECTED) or 0, len(sampled.of(of.UP)))
    [(driver, _, cuda)] = sampled.of(of.DRIVER_INFO) or [("unknown", "", "")]
    activity = sampled.of(of.GPU[GPM]) or sampled.of(of.MIG[GPM])
    parts = [
        f"{up:.0f} of {count(round(expected), 'GPU')}" if up < expected else count(round(up), "GPU"),
        f"{count(instances, 'MIG instance')}" if instances else "",
        f"driver {driver}, CUDA {cuda}",
        "with GPM" if activity else "no GPM (it needs Hopper or newer)",
    ]
    seen = ", ".join(filter(None, parts))
    if up >= expected:
        return Finding(SUBJECT, "ok", seen)
    down = sorted(sampled.of(of.DOWN))
    if not down:
        return Finding(
            SUBJECT, "limited", seen, "the rest is on the PCI bus, but NVML cannot open it", DOWN["lost"]
        )
    uuid, reason = down[0]
    return Finding(SUBJECT, "limited", seen, f"{uuid} is down: {reason}", DOWN[reason])


def _cause(visit: Visit, problem: Exception | None) -> Cause:
    if problem is None or isinstance(problem, TimeoutError):
        return Cause("the driver does not answer, and the call cannot be interrupted", DOWN["hung"])
    said = str(problem).removeprefix("NVML: ")
    return SAID.get(said) or cause(visit) or Cause(f"NVML says {said}", f"{LOOK}; nvidia-smi should say the same")
