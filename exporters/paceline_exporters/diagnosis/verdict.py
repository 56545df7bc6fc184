"""Why a step takes as long as it does: one verdict from the run's latest steps and what was found in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from .findings import Cause, Finding, Verdict, VerdictKind
from .jobsteps import JobStep
from .phases import BACKWARD, WORK, first, step_seconds, waiting

LEAST_STEPS = 5
DATA_BOUND = 0.15
"""Share of the step in which the median rank waits for its data loader."""
COMMUNICATION_BOUND = 0.20
"""Share of the step in which no rank computes: the least wait of all ranks."""
COMPUTE_BOUND = 0.70
UNEVEN = 0.05
"""Of the median step, by which the mean one differs where that is told."""
OTHER_BOUND = 0.15
"""Share of the step that the median rank spends between its optimizer and the next batch."""
COMPUTE = ("forward", "backward", "optimizer")


@dataclass(frozen=True)
class Shares:
    """Where the time of the latest steps went, as shares of the step, medians over the steps."""

    step_seconds: float
    data: float | None
    """None where no loader was watched: the loop reads its data by itself."""
    compute: float
    """Forward, backward and optimizer of the median rank."""
    communication: float | None
    """Waiting of the rank that waits least: what is not hidden behind compute and is nobody's lateness, unless a
    rank that is not seen is late."""
    other: float
    mean_seconds: float = 0.0
    """Mean length of these steps."""
    unseen: int = 0
    """Ranks of the run that nothing is known of: others may wait for them."""

    @property
    def uneven(self) -> bool:
        """Whether some steps are so long that the mean is not the median."""
        return self.mean_seconds > (1.0 + UNEVEN) * self.step_seconds > 0.0

    def numbers(self) -> dict[str, float]:
        """For people and machines."""
        told = {
            "step_seconds": self.step_seconds,
            "data_share": self.data,
            "compute_share": self.compute,
            "other_share": self.other,
            "communication_share": self.communication,
            "mean_step_seconds": self.mean_seconds if self.uneven else None,
        }
        return {name: value for name, value in told.items() if value is not None}


StepShares = Mapping[str, float]
"""Of one step: seconds, and the shares of compute, and of data_wait, other and wait where they are known."""


def step_shares(step: JobStep, alone: bool = False) -> StepShares | None:
    """Where the time of one step went; None where its length is not known. `alone`: the run has one rank, which
    waits for nobody in backward."""
    seconds = step_seconds(step)
    if not seconds:
        return None
    work = {phase: first(step, names) for phase, names in WORK.items()}
    if alone and not work["backward"]:
        work["backward"] = first(step, BACKWARD)
    compute = [sum(work[phase].get(rank, 0.0) for phase in COMPUTE) for rank in step.ranks]
    row = {"seconds": seconds, "compute": median(compute) / seconds}
    for phase in ("data_wait", "other"):
        if work[phase]:
            row[phase] = median(work[phase].values()) / seconds
    waits = waiting(step)
    return {**row, "wait": min(waits.values()) / seconds} if waits and not alone else row


def shares(rows: Sequence[StepShares], unseen: int = 0) -> Shares | None:
    """Of the latest steps of one run, of which so many ranks are not seen; None while there are too few."""
    if len(rows) < LEAST_STEPS:
        return None
    waits = [row["wait"] for row in rows if "wait" in row]  # may be sampled
    return Shares(
        step_seconds=median(row["seconds"] for row in rows),
        data=_median(rows, "data_wait"),
        compute=median(row["compute"] for row in rows),
        communication=median(waits) if waits else None,
        other=_median(rows, "other") or 0.0,
        mean_seconds=fmean(row["seconds"] for row in rows),
        unseen=unseen,
    )


def _median(rows: Sequence[StepShares], name: str) -> float | None:
    """None where it is known in no step; a step in which it is not had none of it."""
    return median(row.get(name, 0.0) for row in rows) if any(name in row for row in rows) else None


def verdict(found: Shares | None, findings: Sequence[Finding], throttled: Mapping[int, float]) -> Verdict:
    """From the latest steps, the findings that still hold, and the throttled share of each rank's GPU."""
    hung = _standstill(findings)
    if found is None:
        if hung is None:
            return Verdict("unknown", f"Fewer than {LEAST_STEPS} steps are known.", "Wait for more steps.")
        found = Shares(0.0, None, 0.0, None, 0.0)
    numbers = {**found.numbers(), **({"throttled_share": max(throttled.values())} if throttled else {})}
    if hung is not None and hung.since_step == 1:
        numbers = {}  # there is no step yet
    judged = ((kind, judge(found, findings, throttled)) for kind, judge in _JUDGES)
    kind, said = next((kind, said) for kind, said in judged if said is not None)
    summary, advice, knobs = _before_it_regressed(findings, said)
    return Verdict(kind, summary, advice, knobs, numbers, tuple(findings))


Words = tuple[str, str, tuple[str, ...]]
"""Summary, advice, knobs."""
Said = Words | None
Judge = Callable[[Shares, Sequence[Finding], Mapping[int, float]], Said]

OTHER_ADVICE = (
    "Look at what that rank's loop does outside of loader, forward, backward and optimizer: data that it reads "
    "by itself, logging, saving; where all ranks do the same there, compare its host with the others."
)
STRAGGLER_ADVICE: Mapping[Cause, tuple[str, tuple[str, ...]]] = {
    "data": (
        "Look at that rank's storage and data loader workers; more workers or prefetching hide short stalls.",
        ("dataloader_num_workers", "dataloader_prefetch_factor"),
    ),
    "compute": ("Compare that rank's GPU and host with the others; if it stays slow, take the node out.", ()),
    "longer_batches": (
        "Its batches are longer than the others': balance lengths over the ranks (group by length, or pack).",
        ("group_by_length",),
    ),
    "power_capped_gpu": ("That GPU is at its power limit and the others are not: compare the limits.", ()),
    "congested_network": ("Look at the network of that rank's node: it signals congestion.", ()),
    "throttled_gpu": ("That GPU is slowed by heat or power: check cooling and the power limit of its node.", ()),
    "noisy_neighbour": ("Something else uses that rank's node: give the job the node for itself.", ()),
    "communication": ("Look at the network of that rank's node.", ()),
    "degraded_nic": ("That node's network port has errors: check cable, transceiver and switch port.", ()),
    "unknown": ("Look at that rank's node.", ()),
}


UNKNOWN_CHANGE = ("", "Find out what changed at step {step}; the finding has what the nodes see.")
# What changed at the time, and what to do about it.
REGRESSION_ADVICE: Mapping[Cause, tuple[str, str]] = {
    "longer_batches": (
        ", when batches became longer",
        "Batches are longer since step {step}: compare tokens per second rather than steps.",
    ),
    "throttled_gpu": (
        ", when heat or a power brake began to slow GPUs",
        "GPUs are throttled since about step {step}: check cooling and power of the node.",
    ),
    "power_capped_gpu": (
        ", when GPUs came to their power limit",
        "GPUs are at their power limit since about step {step}: find out whether it was lowered.",
    ),
    "degraded_nic": (
        ", when network ports began to show errors, pauses or retransmissions",
        "Look at cables, transceivers and switch ports: errors began at about step {step}.",
    ),
    "congested_network": (
        ", when the network began to signal congestion (CNP, ECN)",
        "The network is congested since about step {step}: find out who else uses it.",
    ),
    "noisy_neighbour": (
        ", when others began to use the node (CPU, memory or storage)",
        "Something else uses the node since about step {step}: give the job the node for itself.",
    ),
}


def _standstill(findings: Sequence[Finding]) -> Finding | None:
    return next((one for one in findings if one.kind == "hang"), None)


def _hung(_found: Shares, findings: Sequence[Finding], _throttled: Mapping[int, float]) -> Said:
    hung = _standstill(findings)
    if hung is None:
        return None
    silent = f"{hung.numbers.get('silent_seconds', 0.0):.0f} s"
    who = f"Rank {hung.rank}" if hung.rank is not None else "The run"
    first = hung.since_step == 1
    if first and not hung.phase:
        summary = f"{who} has not begun its first step for {silent}."
    else:
        where = f"{hung.phase or 'an unknown phase'}{' of its first step' if first else ''}"
        summary = f"{who} has made no progress for {silent}, in {where}."
    return (
        summary,
        "Read the stacks that were kept with the event; the rank that is elsewhere than the others is the one.",
        (),
    )


def _straggling(_found: Shares, findings: Sequence[Finding], _throttled: Mapping[int, float]) -> Said:
    worst = max((one for one in findings if one.kind == "straggler"), key=lambda one: one.share, default=None)
    if worst is None:
        return None
    advice, knobs = STRAGGLER_ADVICE[worst.cause]
    if (worst.phase, worst.cause) == ("other", "compute"):
        advice = OTHER_ADVICE
    where = f" on {worst.node}" if worst.node else ""
    most = "most of all " if f"{worst.phase}_share" in worst.numbers else ""
    return (
        f"Rank {worst.rank}{where} costs {worst.share:.0%} of each step since step {worst.since_step}: "
        f"slower than the others {most}in {worst.phase}, cause: {worst.cause.replace('_', ' ')}.",
        advice,
        knobs,
    )


def _throttling(_found: Shares, _findings: Sequence[Finding], throttled: Mapping[int, float]) -> Said:
    slowed = {rank: share for rank, share in throttled.items() if share >= 0.05}
    if not slowed:
        return None
    worst = max(sorted(slowed), key=slowed.__getitem__)
    return (
        f"{len(slowed)} of {len(throttled)} GPUs are slowed by heat or power; worst: rank {worst}, "
        f"{slowed[worst]:.0%} of the time.",
        "Check cooling, power limits and clocks of these nodes.",
        (),
    )


def _waiting_for_data(found: Shares, _findings: Sequence[Finding], _throttled: Mapping[int, float]) -> Said:
    if found.data is None or found.data < DATA_BOUND:
        return None
    return (
        f"The data loader makes every rank wait for {found.data:.0%} of the step.",
        "Use more loader workers and prefetching, cheaper preprocessing, or faster storage.",
        ("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_pin_memory"),
    )


def _communicating(found: Shares, findings: Sequence[Finding], _throttled: Mapping[int, float]) -> Said:
    slower = next((one for one in findings if one.kind == "communication"), None)
    if (found.communication or 0.0) < COMMUNICATION_BOUND and slower is None:
        return None
    if found.unseen and (slower is None or slower.cause == "unknown"):
        return _waiting(found, slower)
    summary = f"Communication that nothing hides takes {found.communication or 0.0:.0%} of the step."
    if slower is None:
        advice = (
            "Larger batches or accumulation amortise it; bucket size and NCCL settings change what is hidden."
        )
    else:
        where = f" on rank {slower.rank}'s node" if slower.rank is not None else ""
        cause = slower.cause.replace("_", " ")
        summary += f" Since step {slower.since_step} it is {_longer(slower)}; cause: {cause}{where}."
        advice = "Look at the network first: it was faster before."
    return (
        summary,
        advice,
        ("ddp_bucket_cap_mb", "gradient_accumulation_steps", "per_device_train_batch_size", "NCCL_*"),
    )


def _waiting(found: Shares, slower: Finding | None) -> Words:
    """Of a part of the run: the network cannot be told from a slow rank that is not seen."""
    since = "" if slower is None else f" (since step {slower.since_step} {_longer(slower)})"
    return (
        f"The ranks seen here wait for {found.communication or 0.0:.0%} of the step{since}, for other ranks or "
        "for the network: the other nodes' agents tell which.",
        "Ask the agents of all its nodes together: `paceline explain RUN --agent URL --agent URL ...`.",
        (),
    )


def _longer(slower: Finding) -> str:
    now, normal = (slower.numbers[name] for name in ("exposed_seconds", "normal_seconds"))
    return f"{now:.3g} s instead of {normal:.3g} s, {slower.share:.0%} of the step more"


def _computing(found: Shares, _findings: Sequence[Finding], _throttled: Mapping[int, float]) -> Said:
    if found.compute < COMPUTE_BOUND:
        return None
    rest = "nothing else holds the run up"
    if found.data is None:
        rest = "where the loop reads its data by itself, that may be part of it"
    return (
        f"The devices compute for {found.compute:.0%} of the step: {rest}.",
        "Faster only by doing less or better: precision, compilation, kernels, larger batches where MFU is low.",
        ("bf16", "torch_compile", "per_device_train_batch_size", "optim"),
    )


def _otherwise_busy(found: Shares, _findings: Sequence[Finding], _throttled: Mapping[int, float]) -> Said:
    if found.other < OTHER_BOUND:
        return None
    return (
        f"The training loop spends {found.other:.0%} of the step on none of its phases: outside loader, forward, "
        "backward and optimizer.",
        "Look for data that it reads by itself, logging, metrics, loss.item() and other synchronisation, or host "
        "work, in the loop and its callbacks, and do it less often.",
        ("logging_steps",),
    )


def _healthy(found: Shares, _findings: Sequence[Finding], _throttled: Mapping[int, float]) -> Words:
    mean = f" ({found.mean_seconds:.3g} s in the mean: some take much longer)" if found.uneven else ""
    return (
        f"A step takes {found.step_seconds:.3g} s{mean}; no part of it stands out.",
        "Nothing needs to be done; a study may still find a faster configuration.",
        (),
    )


def _before_it_regressed(findings: Sequence[Finding], said: Words) -> Words:
    """What is said, beside the largest regression, unless another finding is behind it."""
    if not findings or any(one.kind != "regression" for one in findings):
        return said
    worst = max(findings, key=lambda one: one.share)
    summary, _, knobs = said
    became, advice = REGRESSION_ADVICE.get(worst.cause, UNKNOWN_CHANGE)
    return (
        f"{summary} It took {worst.numbers['normal_seconds']:.3g} s before step {worst.since_step}{became}.",
        advice.format(step=worst.since_step),
        knobs,
    )


_JUDGES: Sequence[tuple[VerdictKind, Judge]] = (
    ("hung", _hung),
    ("straggler", _straggling),
    ("throttled", _throttling),
    ("data_bound", _waiting_for_data),
    ("communication_bound", _communicating),
    ("compute_bound", _computing),
    ("other_bound", _otherwise_busy),
    ("healthy", _healthy),
)
"""The first that has something to say; the last always has."""
