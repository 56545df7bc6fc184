"""The source: asks everyone who knows a part, and renders who owns what."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping

from ...metrics import Samples
from ..board import Gpu, GpuProcess, Port, Seat
from ..contract import World
from . import containers, slurm
from .attribution import Attribution, Rank, Use, only, ranks_by_container
from .containers import Containers
from .devices import DeviceNames, minors
from .errors import Errors
from .families import (
    ERRORS,
    FAMILIES,
    FOREIGN,
    FOREIGN_MEMORY,
    FOREIGN_PROCESSES,
    GPU_OWNER,
    GPU_OWNERS,
    KUBELET_UP,
    NIC_OWNER,
    NIC_OWNERS,
    NODE_DEVICES,
    POD_DEVICES,
    RANK_GPU,
    RANK_GPUS,
    RANK_MEMORY,
    RANK_OWNER,
    SLURM_JOB,
)
from .identity import Identity
from .kubelet import Answer, Kubelet
from .lineage import Seated
from .party import NOBODY, Party
from .procs import Procs, Sightings

MOST_JOBS = 256
"""Slurm jobs shown."""


class OwnersSource:
    """Whose the devices are. A part that cannot be asked costs what it alone would have told, and is counted."""

    name = "owners"
    period_seconds = 2.5
    """With the 6 s of the driver's lists, and the 1 s of their source, who comes is seen within 10 s."""
    deadline_seconds = 4.0
    families = FAMILIES

    def __init__(self, world: World, own_pod: Party = NOBODY) -> None:
        """`own_pod`: where the agent is a pod's sidecar, that pod."""
        self._world = world
        self._own_pod = own_pod
        self._errors = Errors()
        self._kubelet = Kubelet(world.rootfs, self._errors)
        self._containers = Containers(world.rootfs, self._errors)
        self._procs = Procs(world.procfs)
        self._seat_pids, self._gpu_pids = Sightings(), Sightings()
        self._minors: tuple[tuple[Gpu, ...] | None, dict[str, int]] = (None, {})
        self._last = Samples()

    def sample(self) -> Samples:
        """Raises nothing on purpose: what cannot be known is absent."""
        self._procs.begin()
        self._containers.begin()
        board, answer = self._world.board, self._kubelet.ask()
        gpus, ports, listing, seats = board.gpus, board.ports, board.gpu_processes, board.seats
        attribution = self._attribute(answer, gpus or (), ports or (), listing, seats)
        samples = Samples()
        by_container = ranks_by_container(attribution.ranks)
        for uuid, use in sorted(attribution.uses.items()):
            _add_owner(samples, uuid, use, by_container)
        if listing is not None and seats is not None:
            self._add_company(samples, attribution)
        for rank in attribution.ranks:
            _add_rank(samples, rank)
        if answer is not None:
            _add_nics(samples, attribution, ports or (), by_container)
            _add_counts(samples, answer)
        self._add_jobs(samples, attribution)
        self._add_health(samples)
        if samples.points != self._last.points:
            self._last = samples
        return self._last

    def close(self) -> None:
        """Nothing is held."""

    def _attribute(
        self,
        answer: Answer | None,
        gpus: tuple[Gpu, ...],
        ports: tuple[Port, ...],
        listing: tuple[GpuProcess, ...] | None,
        seats: tuple[Seat, ...] | None,
    ) -> Attribution:
        procs = self._procs
        if gpus != self._minors[0]:
            self._minors = gpus, minors(self._world.procfs)
        names = DeviceNames(gpus, ports, self._minors[1])
        identity = Identity(procs, self._containers, self._own_pod)
        attribution = Attribution(names, answer.given if answer else (), procs, identity)
        attribution.look(
            [Seated(seat, process) for seat, process in self._seat_pids.living(procs, seats or ())],
            self._gpu_pids.living(procs, listing or ()),
            gpus,
        )
        return attribution

    def _add_company(self, samples: Samples, attribution: Attribution) -> None:
        """How many hold each GPU, and who of them is no rank, as far as none is hidden."""
        kubelet_is_heard = self._kubelet.up or not self._kubelet.present
        for uuid, use in sorted(attribution.uses.items()):
            if kubelet_is_heard and (use.parties or not use.doubtful):
                samples.add(GPU_OWNERS, len(use.parties), uuid)
            if not use.doubtful:
                _add_foreign(samples, uuid, use, attribution)

    def _add_jobs(self, samples: Samples, attribution: Attribution) -> None:
        jobs = slurm.jobs(self._world.sysfs)
        parties = {party for use in attribution.uses.values() for party in use.parties}
        for party in sorted(parties | {rank.party for rank in attribution.ranks}):
            if party.slurm_job:
                jobs[party.slurm_job] = jobs.get(party.slurm_job) or party.uid
        for job in sorted(jobs)[:MOST_JOBS]:
            samples.add(SLURM_JOB, 1, job, jobs[job])

    def _add_health(self, samples: Samples) -> None:
        if self._kubelet.present:
            samples.add(KUBELET_UP, int(self._kubelet.up))
            self._errors.expect(containers.ASKED, containers.REASONS)
        for (asked, reason), count in self._errors.counts.items():
            samples.add(ERRORS, count, asked, reason)


def _add_owner(samples: Samples, uuid: str, use: Use, by_container: Mapping[Party, list[Rank]]) -> None:
    if use.ranks:
        # Ranks of careless code hold a little memory on each other's GPUs.
        first = next((rank for rank in use.ranks if rank.uuids[0] == uuid), use.ranks[0])
        samples.add(GPU_OWNER, 1, uuid, *first.party.labels(), *first.seated.key)
    elif use.parties:
        party = min(use.parties)
        # Given to a container and idle: still known is whose run it waits for.
        run_id = only(rank.seated.seat.run_id for rank in by_container.get(party.container_only(), ()))
        samples.add(GPU_OWNER, 1, uuid, *party.labels(), run_id, "")


def _add_foreign(samples: Samples, uuid: str, use: Use, attribution: Attribution) -> None:
    sizes = [placed.memory_bytes for placed in use.foreign]
    samples.add(FOREIGN_PROCESSES, len(sizes), uuid)
    samples.add(FOREIGN_MEMORY, None if None in sizes else sum(size or 0 for size in sizes), uuid)
    seen = [(placed.memory_bytes or 0, placed.process) for placed in use.foreign if placed.process]
    if seen:
        _, process = max(seen, key=lambda pair: (pair[0], -pair[1].start, -pair[1].pid))
        samples.add(FOREIGN, 1, uuid, process.command, *attribution.party_of(process, uuid).labels())


def _add_rank(samples: Samples, rank: Rank) -> None:
    key = rank.seated.key
    if rank.party != NOBODY:
        samples.add(RANK_OWNER, 1, *key, *rank.party.labels())
    if rank.uuids:
        samples.add(RANK_GPU, 1, *key, rank.uuids[0])
        samples.add(RANK_GPUS, len(rank.uuids), *key)
    for uuid, size in sorted(rank.memory.items()):
        samples.add(RANK_MEMORY, size, *key, uuid)


def _add_nics(
    samples: Samples,
    attribution: Attribution,
    ports: Iterable[Port],
    by_container: Mapping[Party, list[Rank]],
) -> None:
    parties = {port.device: set[Party]() for port in ports}
    parties.update({device.name: found for device, found in attribution.holders.items() if device.kind == "nic"})
    for device, found in sorted(parties.items()):
        samples.add(NIC_OWNERS, len(found), device)
        if found:
            party = min(found)
            ranks = by_container.get(party, [])
            rank = ranks[0].seated.seat.rank if len(ranks) == 1 else ""
            run_id = only(rank.seated.seat.run_id for rank in ranks)
            samples.add(NIC_OWNER, 1, device, *party.labels(), run_id, rank)


def _add_counts(samples: Samples, answer: Answer) -> None:
    counts = Counter((one.namespace, one.pod, one.container, one.resource) for one in answer.given)
    for labels, count in sorted(counts.items()):
        samples.add(POD_DEVICES, count, *labels)
    for resource, count in sorted(answer.allocatable.items()):
        samples.add(NODE_DEVICES, count, resource)


def create(world: World) -> OwnersSource:
    """The source of this module. A sidecar is told its pod by PACELINE_POD_NAMESPACE and PACELINE_POD_NAME."""
    namespace, pod = (os.environ.get(f"PACELINE_POD_{part}", "") for part in ("NAMESPACE", "NAME"))
    return OwnersSource(world, Party(namespace, pod))
