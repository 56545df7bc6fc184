"""From a process to the party it belongs to."""

from __future__ import annotations

import re
from collections.abc import Collection

from .cgroups import Place
from .containers import Containers
from .party import NOBODY, Party
from .procs import Process, Procs

_SLURM_ID = re.compile(r"\d{1,10}", re.ASCII)
"""An environment is its user's to write: only what looks like an id becomes a label."""
SHORT_ID = 12
"""Digits of a container's id, as `docker ps` shows them."""


class Identity:
    """Whose processes are."""

    def __init__(self, procs: Procs, containers: Containers, own_pod: Party = NOBODY) -> None:
        """`own_pod`: of an agent that is a pod's sidecar; whoever it sees is in that pod."""
        self.own_pod = own_pod
        self._procs = procs
        self._containers = containers

    def party(self, process: Process, given_to: Collection[Party]) -> Party:
        """The party. `given_to` are the containers that were given the GPU on which the process computes: where
        the process's container has no name, it is the only one of these."""
        place = self._procs.place(process)
        job, step = self._slurm(process, place)
        name = self._containers.name(place.container_id)
        if name is not None:
            return Party(*name, job, step)
        if self.own_pod != NOBODY:
            return self.own_pod
        if place.pod_uid:
            if len(given_to) == 1:
                return next(iter(given_to))
            return Party(container=place.container_id[:SHORT_ID], slurm_job=job, slurm_step=step)
        uid = self._procs.facts(process).uid
        return Party("", "", place.container_id[:SHORT_ID], job, step, uid)

    def is_in_pod(self, process: Process) -> bool:
        """Whether or not it is known in which."""
        return bool(self._procs.place(process).pod_uid)

    def numbers_devices_anew(self, process: Process) -> bool:
        """In a container and in a Slurm job, device 0 is the first that it was given, whichever that is."""
        place = self._procs.place(process)
        return bool(place.container_id or self._slurm(process, place)[0])

    def _slurm(self, process: Process, place: Place) -> tuple[str, str]:
        if place.slurm_job:
            return place.slurm_job, place.slurm_step
        environment = self._procs.facts(process).environment
        job, step = (environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        if not _SLURM_ID.fullmatch(job):
            return "", ""
        return job, step if _SLURM_ID.fullmatch(step) else ""
