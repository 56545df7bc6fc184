"""The steps source."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ...attach import layout
from ...following import Follower, News
from ...metrics import Samples
from ...noise_scale import NoiseScale, Norms
from ...ranks import Rank
from ...rings import StepRow
from ..board import Seat
from ..contract import World
from .counted import Counted
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
        self._counted = Counted(world.state)
        self._followers = world.followers
        self._followers.counted = dict(self._counted.marks)
        self._news = self._followers.tap()
        self._board = world.board
        self._peak_flops = world.peak_flops
        self._keep_ended_seconds = keep_ended_seconds
        self._most_ranks = most_ranks
        self._followed: dict[str, tuple[Follower, Rank]] = {}
        """By the ring's UUID."""
        self._ranks: dict[tuple[str, int], Rank] = {}
        self._noise: dict[str, NoiseScale] = {}
        self._refused: set[str] = set()
        self._dropped = 0
        self._skipped: Counter[str] = Counter(dict.fromkeys(SKIP_REASONS, 0))
        self._skipped_last: Mapping[str, int] = {}
        self._shown: list[Rank] = []
        self._samples: Samples | None = None

    def sample(self) -> Samples:
        """Never raises for a file: what cannot be read is skipped and counted."""
        now = time.time()
        self._followers.look()
        changed = self._count_skipped(self._followers.skipped)
        news = list(self._news.drain())
        changed |= self._take(news, now)
        for follower, rank in self._followed.values():
            rank.see(follower)
        shown = [rank for _, rank in sorted(self._ranks.items()) if self._visible(rank, now)]
        if changed or self._samples is None or shown != self._shown:
            self._shown = shown
            self._measure_noise(news)
            self._samples = self._render()
            self._board.seats = tuple(self._seats())
        self._save()
        return self._samples

    def close(self) -> None:
        """Close the rings; keep the counts."""
        self._save(at_once=True)
        self._followers.close()

    def _save(self, at_once: bool = False) -> None:
        self._counted.save(time.monotonic(), self._followed, self._ranks.values(), at_once)

    def _count_skipped(self, skipped: Mapping[str, int]) -> bool:
        """Counts files, not looks at them: what was skipped the last time is not news."""
        for reason, count in skipped.items():
            self._skipped[reason] += max(0, count - self._skipped_last.get(reason, 0))
        changed = skipped != self._skipped_last
        self._skipped_last = skipped
        return changed

    def _take(self, news: Iterable[News], now: float) -> bool:
        changed, current = False, self._followers.current
        for one in news:
            uuid = one.follower.reader.uuid
            rank = self._rank(uuid, one.follower, now)
            if rank is not None:
                rank.take(one)
                changed = True
                if one.mark is not None:
                    self._counted.marks[uuid] = one.mark
            self._skipped["unreadable"] += one.follower.broken and uuid in current
        for gone in self._followed.keys() - current.keys():
            follower, rank = self._followed.pop(gone)
            rank.see(follower)
        self._refused &= current.keys()
        return changed

    def _rank(self, uuid: str, follower: Follower, now: float) -> Rank | None:
        """The rank that the ring is of, with its first news; None for a ring that is gone, or finds no room."""
        if uuid not in self._followed:
            identity = None if follower.broken else follower.identity
            rank = None if identity is None else self._ranks.get(identity) or self._admit(identity, uuid, now)
            if rank is None:
                return None
            self._followed[uuid] = (follower, rank)
            rank.begin(follower)
        return self._followed[uuid][1]

    def _admit(self, identity: tuple[str, int], uuid: str, now: float) -> Rank | None:
        if len(self._ranks) >= self._most_ranks:
            self._ranks = {key: rank for key, rank in self._ranks.items() if self._visible(rank, now)}
        if len(self._ranks) >= self._most_ranks:
            self._dropped += uuid not in self._refused
            self._refused.add(uuid)
            return None
        rank = self._ranks[identity] = Rank(*identity)
        self._counted.restore(rank, uuid)
        return rank

    def _visible(self, rank: Rank, now: float) -> bool:
        return rank.alive or now < rank.last_alive + self._keep_ended_seconds

    def _measure_noise(self, news: Iterable[News]) -> None:
        """Take what this look brought of norms; a step waits for all ranks of its run that are seen here."""
        expected = Counter(rank.run_id for rank in self._shown)
        # All ranks of a step before the next step.
        for row, rank in sorted(self._sampled(news), key=lambda found: (found[0][_STEP], found[1].rank)):
            noise = self._noise.setdefault(rank.run_id, NoiseScale())
            norms = Norms(row[_FIRST_MICRO], row[_NORM], row[_MICRO_STEPS], row[_SAMPLES])
            key = (rank.whole("attempt"), row[_STEP], rank.rank)
            noise.add(*key, norms, expected[rank.run_id], rank.whole("world_size", 1))
        for gone in self._noise.keys() - {rank.run_id for rank in self._shown}:
            del self._noise[gone]

    def _sampled(self, news: Iterable[News]) -> Iterator[tuple[StepRow, Rank]]:
        for one in news:
            _, rank = self._followed.get(one.follower.reader.uuid, (None, None))
            if rank is not None and rank.is_of(one.follower):
                for row in one.rows:
                    if row[_FIRST_MICRO] > 0.0 and row[_STEP] >= 0.0:
                        yield row, rank

    def _seats(self) -> Iterator[Seat]:
        for follower, rank in self._followed.values():
            if follower.alive and rank.is_of(follower):
                yield Seat(rank.run_id, str(rank.rank), follower.holder, rank.text("gpu_uuid"))

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
