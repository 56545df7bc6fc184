"""What ranks work beyond each other in a phase, or in all: a cumulative sum for each rank, of steps or blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .cusum import Cusum, Hiccups, Noise

BLOCK_STEPS = 32
"""Of which the mean is one measurement; rare by nature: two are enough."""


@dataclass
class Sums:
    """One phase, or all, on all ranks."""

    noise: Noise = field(default_factory=Noise)
    hiccups: Hiccups = field(default_factory=Hiccups)
    ranks: dict[int, Cusum] = field(default_factory=dict)

    def take(
        self,
        step: int,
        seconds: float,
        beyond: Mapping[int, float],
        trusted: bool = True,
        whole: Mapping[int, float] | None = None,
    ) -> list[int]:
        """Seconds beyond the others' in a step, or a block of steps, that lasted so many; the ranks that are
        found with it. `whole`: the same not cut off."""
        scale, ranks = self.noise.scale, self.ranks
        change, found = 0.0, []
        ended = calm = 0
        for rank, more in beyond.items():
            one = ranks.get(rank) or ranks.setdefault(rank, Cusum())
            share = more / seconds
            change += one.change(share)
            if trusted:
                was_slow = one.slow
                uncut = None if whole is None else whole[rank] / seconds
                if one.add(step, share, scale, seconds, self.hiccups, uncut):
                    found.append(rank)
                if not one.slow:
                    calm += 1
                    ended += was_slow
        self.noise.learn(change / len(beyond))
        self.hiccups.learn(ended, calm)
        return found

    def found(self, rank: int) -> Cusum | None:
        """The rank's sum where it holds."""
        one = self.ranks.get(rank)
        return one if one is not None and one.found else None


@dataclass
class Block:
    """Own work of one phase, or of all, over the latest steps."""

    seconds: float = 0.0
    steps: int = 0
    work: dict[int, float] = field(default_factory=dict)

    def add(self, seconds: float, work: Mapping[int, float]) -> bool:
        """One step; True when the block is whole. Ranks that came or left begin a new one."""
        if self.steps >= BLOCK_STEPS or self.work.keys() != work.keys():
            self.seconds, self.steps, self.work = 0.0, 0, dict.fromkeys(work, 0.0)
        self.seconds += seconds
        self.steps += 1
        mine = self.work
        for rank, own in work.items():
            mine[rank] += own
        return self.steps == BLOCK_STEPS
