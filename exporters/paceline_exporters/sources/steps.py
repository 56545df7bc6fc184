"""The steps of every rank on this node, from the rings that the ranks write."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ..metrics import Family, Samples
from ..ranks import Follower, Rank
from ..rings import RingDirectory, RingReader
from .board import Seat
from .contract import World

RANK = ("run_id", "rank")
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
PHASES = ("data_wait", "sync_wait", "forward", "backward", "optimizer", "other", "pause")
DDP_PARTS = ("compute", "comm", "exposed")

STEPS = Family("paceline_steps_total", "Optimizer steps read from the rank's rings.", "counter", "", RANK)
SAMPLES = Family("paceline_step_samples_total", "Samples the rank trained on.", "counter", "", RANK)
TOKENS = Family("paceline_step_tokens_total", "Input tokens of the rank, padding included.", "counter", "", RANK)
SECONDS = Family("paceline_step_seconds_total", "Time in steps, pauses left out.", "counter", "seconds", RANK)
PHASE_SECONDS = Family(
    "paceline_step_phase_seconds_total",
    "Time by phase of a step. All but pause add up to paceline_step_seconds_total where all are known.",
    "counter",
    "seconds",
    (*RANK, "phase"),
)
LOST = Family(
    "paceline_step_records_lost_total",
    "Step records overwritten before they were read, or torn.",
    "counter",
    "",
    RANK,
)
EVENTS = Family("paceline_step_events_total", "Rare events of the rank.", "counter", "", (*RANK, "kind"))
DDP_SECONDS = Family(
    "paceline_step_ddp_seconds",
    "The latest sampled backward pass under DDP.",
    "gauge",
    "seconds",
    (*RANK, "part"),
)
LOSS_FINITE = Family(
    "paceline_step_loss_finite", "1 while the latest loss is a finite number, else 0.", "gauge", "", RANK
)
LOSS = Family(
    "paceline_step_loss", "Latest loss on this rank; absent once it is not a number.", "gauge", "", RANK
)
ALIVE = Family("paceline_ring_alive", "1 while the rank's process lives, 0 once it ended.", "gauge", "", RANK)
TRAINING = Family(
    "paceline_rank_training", "1 while the rank lives and train() has not ended, else 0.", "gauge", "", RANK
)
# Field of a step record -> gauge of its latest known value.
GAUGES = {
    "step": Family("paceline_step_number", "The job's latest optimizer step.", "gauge", "", RANK),
    "wall": Family(
        "paceline_step_timestamp_seconds", "End of the latest step, Unix time.", "gauge", "seconds", RANK
    ),
    "grad_norm": Family("paceline_step_grad_norm", "Latest gradient norm before clipping.", "gauge", "", RANK),
    "learning_rate": Family("paceline_step_learning_rate", "Latest learning rate.", "gauge", "", RANK),
    "gpu_memory_peak_bytes": Family(
        "paceline_step_gpu_memory_peak_bytes",
        "Latest sampled peak of allocated GPU memory.",
        "gauge",
        "bytes",
        RANK,
    ),
}
# Field of a step record -> counter of its sum.
COUNTERS = {"samples": SAMPLES, "tokens": TOKENS, "step_seconds": SECONDS}
RUN_INFO = Family(
    "paceline_run_info",
    "The run's latest attempt, as this node sees it.",
    "info",
    "",
    ("run_id", "study", "trial", "kind", "world_size", "node", "attempt", "torch", "transformers"),
)
RUN_RANKS = Family("paceline_run_world_size", "Ranks the run has on all nodes.", "gauge", "", ("run_id",))
RUN_PARAMETERS = Family("paceline_run_parameters", "Parameters of the model.", "gauge", "", ("run_id",))
RUN_FLOPS = Family(
    "paceline_run_flops_per_token",
    "Floating-point operations of a training step per token.",
    "gauge",
    "",
    ("run_id",),
)
RANK_INFO = Family(
    "paceline_rank_info", "Where the rank runs.", "info", "", (*RANK, "local_rank", "device", "node")
)
SKIPPED = Family(
    "paceline_ring_files_skipped_total",
    "Files in the ring directory that are no readable rings.",
    "counter",
    "",
    ("reason",),
)
DROPPED = Family("paceline_rings_dropped_total", "Rings left out because too many ranks are shown.", "counter")


class StepsSource:
    """Follows every ring of a directory; a rank that ended is shown for a while."""

    name = "steps"
    period_seconds = 0.5
    deadline_seconds = 2.0
    families = (
        *(
            STEPS,
            *COUNTERS.values(),
            PHASE_SECONDS,
            LOST,
            EVENTS,
            *GAUGES.values(),
            LOSS,
            LOSS_FINITE,
            DDP_SECONDS,
        ),
        *(ALIVE, TRAINING, RANK_INFO, RUN_INFO, RUN_RANKS, RUN_PARAMETERS, RUN_FLOPS, SKIPPED, DROPPED),
    )

    def __init__(self, world: World, keep_ended_seconds: float = 300.0, most_ranks: int = 256) -> None:
        self._directory = RingDirectory(world.rings)
        self._board = world.board
        self._keep_ended_seconds = keep_ended_seconds
        self._most_ranks = most_ranks
        self._followers: dict[str, Follower] = {}
        self._ranks: dict[tuple[str, int], Rank] = {}
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

    def _seats(self) -> Iterator[Seat]:
        for follower in self._followers.values():
            rank = follower.rank
            if rank is not None and rank.alive and follower.is_newest(rank) and not follower.broken:
                yield Seat(rank.run_id, str(rank.rank), follower.reader.holder(), rank.text("gpu_uuid"))

    def _render(self) -> Samples:
        samples = Samples()
        for rank in self._shown:
            _add_rank(samples, rank)
        for rank in _leaders(self._shown):
            _add_run(samples, rank)
        for reason, count in self._skipped.items():
            samples.add(SKIPPED, count, reason)
        samples.add(DROPPED, self._dropped)
        return samples


def _add_rank(samples: Samples, rank: Rank) -> None:
    key = (rank.run_id, str(rank.rank))
    samples.add(STEPS, rank.steps, *key)
    for field, family in COUNTERS.items():
        samples.add(family, rank.totals.get(field), *key)
    for phase in PHASES:
        samples.add(PHASE_SECONDS, rank.totals.get(f"{phase}_seconds"), *key, phase)
    for kind, count in rank.events.items():
        samples.add(EVENTS, count, *key, kind)
    for field, family in GAUGES.items():
        samples.add(family, rank.latest.get(field), *key)
    for part in DDP_PARTS:
        samples.add(DDP_SECONDS, rank.latest.get(f"ddp_{part}_seconds"), *key, part)
    samples.add(LOST, rank.lost, *key)
    samples.add(LOSS, rank.loss, *key)
    finite = rank.loss_finite
    samples.add(LOSS_FINITE, None if finite is None else int(finite), *key)
    samples.add(ALIVE, int(rank.alive), *key)
    samples.add(TRAINING, int(rank.training), *key)
    samples.add(RANK_INFO, 1, *key, rank.text("local_rank"), rank.text("device"), rank.text("node"))


def _add_run(samples: Samples, rank: Rank) -> None:
    samples.add(
        RUN_INFO,
        1,
        rank.run_id,
        *(rank.text(key) for key in ("study", "trial", "kind", "world_size", "node", "attempt")),
        *(rank.text(key, within="libraries") for key in ("torch", "transformers")),
    )
    for key, family in (
        ("world_size", RUN_RANKS),
        ("parameters", RUN_PARAMETERS),
        ("flops_per_token", RUN_FLOPS),
    ):
        samples.add(family, rank.number(key), rank.run_id)


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


def create(world: World) -> StepsSource:
    """The source of this module."""
    return StepsSource(world)
