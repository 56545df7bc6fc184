"""What is served of runs and their ranks."""

from __future__ import annotations

from ...metrics import Family, FamilyType
from ...ranks import RECENT_STEPS

RUN = ("run_id",)
RANK = ("run_id", "rank")
PHASES = ("data_wait", "sync_wait", "forward", "backward", "optimizer", "other", "pause")
PARTS = ("clip", "compile", "evaluation", "checkpoint")
GPU_PHASES = ("forward", "backward", "optimizer")
DDP_PARTS = ("compute", "comm", "exposed")


def _of_rank(name: str, text: str, kind: FamilyType, unit: str = "", *labels: str) -> Family:
    return Family(f"paceline_{name}", text, kind, unit, (*RANK, *labels))


def _of_run(name: str, text: str, kind: FamilyType = "gauge", *labels: str) -> Family:
    return Family(f"paceline_{name}", text, kind, "", (*RUN, *labels))


STEPS = _of_rank("steps_total", "Optimizer steps read from the rank's rings.", "counter")
# Name of a total -> its counter.
COUNTERS = {
    "samples": _of_rank("step_samples_total", "Samples the rank trained on.", "counter"),
    "tokens": _of_rank("step_tokens_total", "Input tokens of the rank, padding included.", "counter"),
    "step_seconds": _of_rank("step_seconds_total", "Time in steps, pauses left out.", "counter", "seconds"),
    "gpu_step_seconds": _of_rank(
        "step_gpu_seconds_total",
        "Time on the GPU from the first forward to the optimizer's end, data wait in between included, of the "
        "steps in which it was taken.",
        "counter",
        "seconds",
    ),
    "allocator_retries": _of_rank(
        "step_allocator_retries_total",
        "Allocations of GPU memory that worked only after torch's cache was flushed, as last sampled.",
        "counter",
    ),
}
SKIPPED_STEPS = _of_rank(
    "step_optimizer_skipped_total", "Steps in which a GradScaler left the optimizer's step out.", "counter"
)
PHASE_SECONDS = _of_rank(
    "step_phase_seconds_total",
    "Time by phase of a step. All but pause add up to paceline_step_seconds_total where all are known.",
    "counter",
    "seconds",
    "phase",
)
PART_SECONDS = _of_rank(
    "step_part_seconds_total",
    "Time that phases contain, not to be added to them: clip is part of other; compile of forward, backward and "
    "other; evaluation and checkpoint of pause.",
    "counter",
    "seconds",
    "part",
)
GPU_SECONDS = _of_rank(
    "step_gpu_phase_seconds_total",
    "Time between events on the training stream, of the steps in which it was taken.",
    "counter",
    "seconds",
    "phase",
)
COUNTED_TOKENS = _of_rank(
    "step_counted_tokens_total",
    "Tokens of the steps in which padding was counted, by whether they are padding.",
    "counter",
    "",
    "kind",
)
# Name of a total -> counter and its last label.
LABELLED_COUNTERS = {
    **{f"{phase}_seconds": (PHASE_SECONDS, phase) for phase in PHASES},
    **{f"{part}_seconds": (PART_SECONDS, part) for part in PARTS},
    **{f"gpu_{phase}_seconds": (GPU_SECONDS, phase) for phase in GPU_PHASES},
    **{f"{kind}_tokens": (COUNTED_TOKENS, kind) for kind in ("real", "padding")},
}
FLOPS = _of_rank(
    "step_flops_total",
    "Floating-point operations of the model: tokens, padding included, times the run's FLOPs per token.",
    "counter",
)
PEAK = _of_rank(
    "rank_peak_flops",
    "Dense peak of the rank's device in the precision it computes in, FLOP/s; absent where either is unknown.",
    "gauge",
)
MFU = _of_rank(
    "rank_mfu_ratio",
    f"Model FLOPs utilisation over the last {RECENT_STEPS} steps: FLOPs by step time by peak. Pauses, and steps "
    "that compiled, are left out; padding is work.",
    "gauge",
)
LOST = _of_rank("step_records_lost_total", "Step records overwritten before they were read, or torn.", "counter")
EVENTS = _of_rank("step_events_total", "Rare events of the rank.", "counter", "", "kind")
DDP_SECONDS = _of_rank(
    "step_ddp_seconds", "The latest sampled backward pass under DDP.", "gauge", "seconds", "part"
)
# Field of a step record -> gauge of its latest sampled value, and its label.
LABELLED_GAUGES = {f"ddp_{part}_seconds": (DDP_SECONDS, part) for part in DDP_PARTS}
# Field of a step record -> gauge of its latest known value.
GAUGES = {
    "step": _of_rank("step_number", "The job's latest optimizer step.", "gauge"),
    "wall": _of_rank(
        "step_timestamp_seconds",
        "End of the latest step, Unix time; `time()` less this is the latest step's age.",
        "gauge",
        "seconds",
    ),
    "grad_norm": _of_rank("step_grad_norm", "Latest gradient norm before clipping.", "gauge"),
    "grad_norm_first_micro": _of_rank(
        "step_grad_norm_first_micro",
        "Latest sampled norm of the rank's own gradients after the first of several micro-steps.",
        "gauge",
    ),
    "learning_rate": _of_rank("step_learning_rate", "Latest learning rate.", "gauge"),
    "gpu_memory_peak_bytes": _of_rank(
        "step_gpu_memory_peak_bytes", "Latest sampled peak of allocated GPU memory.", "gauge", "bytes"
    ),
    "gpu_memory_allocated_bytes": _of_rank(
        "step_gpu_memory_allocated_bytes", "GPU memory in tensors, as last sampled.", "gauge", "bytes"
    ),
    "gpu_memory_reserved_bytes": _of_rank(
        "step_gpu_memory_reserved_bytes",
        "GPU memory that torch's allocator holds, as last sampled.",
        "gauge",
        "bytes",
    ),
}
LOSS = _of_rank("step_loss", "Latest loss on this rank; absent once it is not a number.", "gauge")
LOSS_FINITE = _of_rank("step_loss_finite", "1 while the latest loss is a finite number, else 0.", "gauge")
ALIVE = _of_rank("ring_alive", "1 while the rank's process lives, 0 once it ended.", "gauge")
TRAINING = _of_rank("rank_training", "1 while the rank lives and train() has not ended, else 0.", "gauge")
RANK_INFO = _of_rank("rank_info", "Where the rank runs.", "info", "", "local_rank", "device", "node")
FAILURE_INFO = _of_rank(
    "rank_last_failure_info",
    "What the rank's training last ended with, also in an attempt before: oom or exception, and its type.",
    "info",
    "",
    "kind",
    "exception",
)
FAILURE_STEP = _of_rank(
    "rank_last_failure_step", "The last step that was done before the rank's last failure.", "gauge"
)
RUN_INFO = _of_run(
    "run_info",
    "The run's latest attempt, as this node sees it.",
    "info",
    *("study", "trial", "kind", "world_size", "node", "attempt", "torch", "transformers"),
)
# Number of a ring's header -> gauge of the run.
RUN_GAUGES = {
    "world_size": _of_run("run_world_size", "Ranks the run has on all nodes."),
    "parameters": _of_run("run_parameters", "Parameters of the model."),
    "flops_per_token": _of_run("run_flops_per_token", "Floating-point operations of a training step per token."),
}
# Attribute of a NoiseScale -> what is served of it.
NOISE = {
    "samples": _of_run(
        "run_gradient_noise_scale_samples",
        "B_simple (McCandlish et al. 2018) over sampled steps with gradient accumulation, from the ranks of this "
        "node: paceline_run_gradient_noise by paceline_run_gradient_signal.",
    ),
    "noise": _of_run(
        "run_gradient_noise", "Trace of the covariance of one sample's gradient, averaged over sampled steps."
    ),
    "signal": _of_run(
        "run_gradient_signal", "Squared norm of the gradient without noise, averaged over sampled steps."
    ),
    "ranks": _of_run("run_gradient_noise_ranks", "Ranks in the latest step of these averages."),
    "readings": _of_run("run_gradient_noise_steps_total", "Sampled steps in these averages.", "counter"),
}
SKIPPED = Family(
    "paceline_ring_files_skipped_total",
    "Files in the ring directory that are no readable rings.",
    "counter",
    "",
    ("reason",),
)
DROPPED = Family("paceline_rings_dropped_total", "Rings left out because too many ranks are shown.", "counter")

OF_RANKS = (
    *(STEPS, *COUNTERS.values(), SKIPPED_STEPS, PHASE_SECONDS, PART_SECONDS, GPU_SECONDS, COUNTED_TOKENS),
    *(FLOPS, PEAK, MFU, LOST, EVENTS, *GAUGES.values(), LOSS, LOSS_FINITE, DDP_SECONDS),
    *(ALIVE, TRAINING, RANK_INFO, FAILURE_INFO, FAILURE_STEP),
)
OF_RUNS = (RUN_INFO, *RUN_GAUGES.values(), *NOISE.values())
