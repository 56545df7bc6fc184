"""One look at the node: which rank is on which GPU, who holds what, and who else is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..board import Gpu, GpuProcess
from .devices import Device, DeviceNames
from .identity import Identity
from .kubelet import Given
from .lineage import Lineage, Seated
from .party import NOBODY, Party
from .procs import Process, Procs


@dataclass(frozen=True)
class Placed:
    """A process on a GPU."""

    process: Process | None
    """None where it is gone or hidden."""
    memory_bytes: int | None


@dataclass
class Rank:
    """A living rank of this node."""

    seated: Seated
    party: Party = NOBODY
    uuids: tuple[str, ...] = ()
    """Its GPUs, its own first."""
    memory: dict[str, int | None] = field(default_factory=dict)
    """UUID -> bytes that its processes hold there; None where the driver does not say."""


@dataclass
class Use:
    """What is on a GPU."""

    ranks: list[Rank] = field(default_factory=list)
    """In order."""
    parties: set[Party] = field(default_factory=set)
    foreign: list[Placed] = field(default_factory=list)
    """Processes of no rank."""
    doubtful: bool = False
    """Some process on it, or some rank, is hidden: what is foreign cannot be told."""


class Attribution:
    """Puts together what the sources of this node and the kubelet know."""

    def __init__(self, names: DeviceNames, given: Iterable[Given], procs: Procs, identity: Identity) -> None:
        self.holders: defaultdict[Device, set[Party]] = defaultdict(set)
        """Device -> containers that were given it."""
        self.ranks: list[Rank] = []
        """In order."""
        self.uses: defaultdict[str, Use] = defaultdict(Use)
        """By UUID."""
        self._names, self._procs, self._identity = names, procs, identity
        for one in given:
            device = names.find(one.names)
            if device is not None:
                self.holders[device].add(Party(one.namespace, one.pod, one.container))

    def look(
        self,
        seated: Sequence[Seated],
        placed: Iterable[tuple[GpuProcess, Process | None]],
        gpus: Sequence[Gpu],
    ) -> None:
        """Fill `ranks` and `uses`."""
        held = (device.name for device in self.holders if device.kind == "gpu")
        for uuid in (*held, *(gpu.uuid for gpu in gpus)):
            self.uses[uuid] = Use()
        self.ranks = [Rank(one) for one in sorted(seated, key=lambda one: one.order)]
        self._place_processes(placed)
        for rank in self.ranks:
            rank.uuids = tuple(self._uuids(rank))
            rank.party = self._party_of_rank(rank)
            for uuid in rank.uuids:
                self.uses[uuid].ranks.append(rank)
        for uuid, use in self.uses.items():
            use.parties = _told_best(set(self._parties(uuid, use)))
        self._own_divided(gpus)
        self._doubt()

    def party_of(self, process: Process, uuid: str) -> Party:
        """Whose a process on that GPU is."""
        return self._identity.party(process, self._given(uuid))

    def _place_processes(self, placed: Iterable[tuple[GpuProcess, Process | None]]) -> None:
        lineage = Lineage(self._procs, [rank.seated for rank in self.ranks])
        by_seat = {rank.seated: rank for rank in self.ranks}
        for listed, process in placed:
            use = self.uses[listed.uuid]
            seated = None if process is None else lineage.rank_of(process)
            if seated is not None:
                _add_memory(by_seat[seated].memory, listed)
                continue
            use.foreign.append(Placed(process, listed.memory_bytes))
            use.doubtful |= process is None

    def _uuids(self, rank: Rank) -> Iterator[str]:
        """The GPU that the ring names; those with its memory, most first; else what its environment names."""
        own = self._names.uuid(rank.seated.seat.gpu_uuid)
        used = sorted(rank.memory, key=lambda uuid: (uuid != own, -(rank.memory[uuid] or 0), uuid))
        if own and own not in used:
            yield own
        yield from used
        if not (own or used):
            named = self._named_by_environment(rank.seated.process)
            if named:
                yield named

    def _named_by_environment(self, process: Process | None) -> str:
        """The GPU that CUDA_VISIBLE_DEVICES and LOCAL_RANK mean; empty where they do not tell."""
        if process is None:
            return ""
        environment = self._procs.facts(process).environment
        visible = [
            name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()
        ]
        local = environment.get("LOCAL_RANK", "")
        if len(visible) == 1:
            name = visible[0]
        elif local.isdecimal() and int(local) < len(visible):
            name = visible[int(local)]
        else:
            return ""
        if not name.isdecimal():
            return self._names.uuid(name)
        return "" if self._identity.numbers_devices_anew(process) else self._names.indexed(int(name))

    def _party_of_rank(self, rank: Rank) -> Party:
        given_to = self._given(rank.uuids[0]) if rank.uuids else set()
        if rank.seated.process is not None:
            return self._identity.party(rank.seated.process, given_to)
        return next(iter(given_to)) if len(given_to) == 1 else self._identity.own_pod

    def _parties(self, uuid: str, use: Use) -> Iterator[Party]:
        given = self._given(uuid)
        yield from given
        found = [(rank.party, rank.seated.process) for rank in use.ranks]
        found += [(self.party_of(one.process, uuid), one.process) for one in use.foreign if one.process]
        for party, process in found:
            # A pod without a name, on a GPU that was given to some, is one of these.
            counted = given and not party.pod and process is not None and self._identity.is_in_pod(process)
            if party != NOBODY and not counted:
                yield party

    def _given(self, uuid: str) -> set[Party]:
        return self.holders.get(Device("gpu", uuid), set())

    def _own_divided(self, gpus: Iterable[Gpu]) -> None:
        for gpu in gpus:
            if gpu.parent and gpu.uuid in self.uses:
                part, whole = self.uses[gpu.uuid], self.uses[gpu.parent]
                whole.parties |= part.parties
                whole.ranks = [rank for rank in self.ranks if rank in whole.ranks or rank in part.ranks]

    def _doubt(self) -> None:
        for rank in self.ranks:
            if rank.seated.process is None:
                hidden_on = self._names.uuid(rank.seated.seat.gpu_uuid)
                for uuid, use in self.uses.items():
                    use.doubtful |= hidden_on in ("", uuid)


def _told_best(parties: set[Party]) -> set[Party]:
    """Without containers of which a Slurm step within is known: the kubelet knows the container only."""
    split = {party.container_only() for party in parties if party.pod and party.slurm_job}
    return {party for party in parties if party.slurm_job or party not in split}


def _add_memory(memory: dict[str, int | None], listed: GpuProcess) -> None:
    before = memory.get(listed.uuid, 0)
    known = before is not None and listed.memory_bytes is not None
    memory[listed.uuid] = (before or 0) + (listed.memory_bytes or 0) if known else None


def only(values: Iterable[str]) -> str:
    """The value, where there is one only."""
    different = set(values)
    return different.pop() if len(different) == 1 else ""


def ranks_by_container(ranks: Iterable[Rank]) -> Mapping[Party, list[Rank]]:
    """Ranks whose pod is known, by their container."""
    found: defaultdict[Party, list[Rank]] = defaultdict(list)
    for rank in ranks:
        if rank.party.pod:
            found[rank.party.container_only()].append(rank)
    return found
