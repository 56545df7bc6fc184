"""The steps source."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ...attach import layout
from ...metrics import Samples
from ...noise_scale import NoiseScale, Norms
from ...ranks import Follower, Rank
from ...rings import RingDirectory, RingReader, StepRow
from ..board import Seat
from ..contract import World
from .families import DROPPED, OF_RANKS, OF_RUNS, SKIPPED
from .served import add_rank, add_run

SKIP_REASONS = (
    "truncated",
    "foreign",
    "version",
    "not_regular",
    "size",
    "checksum",
    "permission",
    "vanished",
    "unreadable",
)

_STEP, _FIRST_MICRO, _NORM, _MICRO_STEPS, _SAMPLES = (
    layout.STEP_FIELDS.index(name)
    for name in ("step", "grad_norm_first_micro", "grad_norm", "micro_steps", "samples")
)


class StepsSource:
    """Follows every ring of a directory; a rank that ended is shown for a while."""

    name = "steps"
    period_seconds = 0.8
    deadline_seconds = 2.0
    families = (*OF_RANKS, *OF_RUNS, SKIPPED, DROPPED)

    def __init__(self, world: World, keep_ended_seconds: float = 300.0, most_ranks: int = 256) -> None:
        self._directory = RingDirectory(world.rings)
        self._board = world.board
        self._peak_flops = world.peak_flops
        self._keep_ended_seconds = keep_ended_seconds
        self._most_ranks = most_ranks
        self._followers: dict[str, Follower] = {}
        self._ranks: dict[tuple[str, int], Rank] = {}
        self._noise: dict[str, NoiseScale] = {}
        self._refused: set[str] = set()
        self._dropped = 0
        self._skipped: Counter[str] = Counter(dict.fromkeys(SKIP_REASONS, 0))
        self._skipped_last: Mapping[str, int] = {}
        self._shown: list[Rank] = []
        self._samples: Samples | None = None

    def sample(self) -> Samples:
        """Raises OSError where the ring directory cannot be read."""
        now = time.time()
        scan = self._directory.scan()
        changed = self._count_skipped(scan.skipped) | self._meet(scan.rings)
        for uuid in list(self._followers):
            changed |= self._follow(uuid, self._followers[uuid], now)
        shown = [rank for _, rank in sorted(self._ranks.items()) if self._visible(rank, now)]
        if changed or self._samples is None or shown != self._shown:
            self._shown = shown
            self._measure_noise()
            self._samples = self._render()
            self._board.seats = tuple(self._seats())
        return self._samples

    def close(self) -> None:
        """Close the rings."""
        self._directory.close()

    def _count_skipped(self, skipped: Mapping[str, int]) -> bool:
        """Counts files, not looks at them: what was skipped the last time is not news."""
        for reason, count in skipped.items():
            self._skipped[reason] += max(0, count - self._skipped_last.get(reason, 0))
        changed = skipped != self._skipped_last
        self._skipped_last = skipped
        return changed

    def _meet(self, rings: Mapping[str, RingReader]) -> bool:
        gone = self._followers.keys() - rings.keys()
        for uuid in gone:
            _lose(self._followers.pop(uuid))
        for uuid in rings.keys() - self._followers.keys():
            self._followers[uuid] = Follower(rings[uuid])
        self._refused &= rings.keys()
        return bool(gone)

    def _follow(self, uuid: str, follower: Follower, now: float) -> bool:
        if follower.broken:
            return False
        try:
            if follower.rank is None:
                self._assign(uuid, follower, now)
            return follower.advance(now)
        except (OSError, ValueError, RecursionError):  # one hostile or failing file costs itself only
            follower.broken = True
            self._skipped["unreadable"] += 1
            _lose(follower)
            return True

    def _assign(self, uuid: str, follower: Follower, now: float) -> None:
        follower.refresh(now)
        identity = follower.identity()
        rank = None if identity is None else self._ranks.get(identity) or self._admit(identity, uuid, now)
        if rank is not None:
            follower.join(rank)

    def _admit(self, identity: tuple[str, int], uuid: str, now: float) -> Rank | None:
        if len(self._ranks) >= self._most_ranks:
            self._ranks = {key: rank for key, rank in self._ranks.items() if self._visible(rank, now)}
        if len(self._ranks) >= self._most_ranks:
            self._dropped += uuid not in self._refused
            self._refused.add(uuid)
            return None
        rank = self._ranks[identity] = Rank(*identity)
        return rank

    def _visible(self, rank: Rank, now: float) -> bool:
        return rank.alive or now < rank.last_alive + self._keep_ended_seconds

    def _measure_noise(self) -> None:
        """Take what this look brought of norms; a step waits for all ranks of its run that are seen here."""
        expected = Counter(rank.run_id for rank in self._shown)
        # All ranks of a step before the next step.
        for row, rank in sorted(self._sampled(), key=lambda found: (found[0][_STEP], found[1].rank)):
            noise = self._noise.setdefault(rank.run_id, NoiseScale())
            norms = Norms(row[_FIRST_MICRO], row[_NORM], row[_MICRO_STEPS], row[_SAMPLES])
            key = (rank.whole("attempt"), row[_STEP], rank.rank)
            noise.add(*key, norms, expected[rank.run_id], rank.whole("world_size", 1))
        for gone in self._noise.keys() - {rank.run_id for rank in self._shown}:
            del self._noise[gone]

    def _sampled(self) -> Iterator[tuple[StepRow, Rank]]:
        for follower in self._followers.values():
            rank = follower.rank
            if rank is not None and follower.is_newest(rank):
                for row in follower.rows:
                    if row[_FIRST_MICRO] > 0.0 and row[_STEP] >= 0.0:
                        yield row, rank

    def _seats(self) -> Iterator[Seat]:
        for follower in self._followers.values():
            rank = follower.rank
            if rank is not None and rank.alive and follower.is_newest(rank) and not follower.broken:
                yield Seat(rank.run_id, str(rank.rank), follower.reader.holder(), rank.text("gpu_uuid"))

    def _render(self) -> Samples:
        samples = Samples()
        for rank in self._shown:
            add_rank(samples, rank, self._peak_flops)
        for rank in _leaders(self._shown):
            add_run(samples, rank, self._noise.get(rank.run_id))
        for reason, count in self._skipped.items():
            samples.add(SKIPPED, count, reason)
        samples.add(DROPPED, self._dropped)
        return samples


def _leaders(ranks: Iterable[Rank]) -> Iterator[Rank]:
    """Of each run, the lowest rank of its latest attempt speaks for the run."""
    leaders: dict[str, Rank] = {}
    for rank in sorted(ranks, key=lambda rank: (-rank.whole("attempt"), rank.rank)):
        leaders.setdefault(rank.run_id, rank)
    yield from leaders.values()


def _lose(follower: Follower) -> None:
    rank = follower.rank
    if rank is not None and follower.is_newest(rank):
        rank.alive = False
