"""The knobs that Paceline knows: what they change, what they may be set to, and where that is written.

`python -m paceline_tuner.study.catalogue` prints docs/knobs.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from paceline_exporters.attach.environment import ALLOWED_NAMES, ALLOWED_PREFIXES

from .legal import ANY, FLAG, MAPPING, TEXT, Legal, number, numbers, power_of_two, whole, words
from .nccl import ALGO, PROTO
from .refused import AUTO_BATCH, OWNED, REFUSED_ENV, RENAMED
from .spec import GLOBAL_BATCH_FIELDS, Effect, Knob, Target


@dataclass(frozen=True)
class Need:
    """A knob that works only where another one is large enough."""

    knob: str
    least: int
    """The other knob's smallest value with which this one works."""
    only_for: object = None
    """The one value that needs it; None: any value does."""


@dataclass(frozen=True)
class Row:
    """One knob."""

    name: str
    """As in a study file."""
    effect: Effect
    legal: Legal
    remark: str = ""
    since: str = ""
    """First version of the library that knows it, where known."""
    needs: Need | None = None


PREFIXES: dict[str, Target] = {"ddp.": "ddp", "env.": "env", "placeholder.": "placeholders"}
SOURCES: dict[Target, str] = {
    "arguments": "transformers 5.23, `training_args.py`",
    "ddp": "torch 2.13, `nn/parallel/distributed.py`",
    "env": "NCCL 2.30.7, `docs/userguide/source/env.rst` and `src/`; torch 2.13, `ProcessGroupNCCL.hpp`",
}
SCHEDULES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy",
)  # fmt: skip
WORKERS, QPS = "dataloader_num_workers", "env.NCCL_IB_QPS_PER_CONNECTION"
SWITCH, LEVEL = numbers(0, 1), numbers(0, 1, 2)
DEBUG_ONLY = "NCCL's manual advises against it in production: prove the gain, and check again after upgrades"

ROWS = (
    # --- TrainingArguments
    Row("per_device_train_batch_size", "convergence", whole(1), "numerics only with `hold: global_batch`"),
    Row("gradient_accumulation_steps", "convergence", whole(1), "follows the batch with `hold: global_batch`"),
    Row("learning_rate", "convergence", number(0, above=True)),
    Row("lr_scheduler_type", "convergence", words(*SCHEDULES)),
    Row("lr_scheduler_kwargs", "convergence", MAPPING, "its keys must fit the schedule"),
    Row("warmup_steps", "convergence", number(0, kind="either"), "below 1 it is a share of all steps"),
    Row("weight_decay", "convergence", number(0)),
    Row("max_grad_norm", "convergence", number(0), "0 is no clipping"),
    Row("optim", "convergence", TEXT, "the job checks the name"),
    Row("optim_args", "convergence", TEXT),
    Row("adam_beta1", "convergence", number(0, 1)),
    Row("adam_beta2", "convergence", number(0, 1)),
    Row("adam_epsilon", "convergence", number(0, above=True)),
    Row("label_smoothing_factor", "convergence", number(0, 1)),
    Row("neftune_noise_alpha", "convergence", number(0)),
    Row("average_tokens_across_devices", "convergence", FLAG, "true costs a collective before each step"),
    Row("train_sampling_strategy", "convergence", words("random", "sequential", "group_by_length")),
    Row("bf16", "numerics", FLAG, "not together with fp16"),
    Row("fp16", "numerics", FLAG, "not together with bf16"),
    Row("tf32", "numerics", FLAG, "Ampere and newer"),
    Row("torch_compile", "numerics", FLAG, "compiles during the first steps: warm up for longer"),
    Row("torch_compile_backend", "numerics", TEXT),
    Row("torch_compile_mode", "numerics", TEXT),
    Row("use_liger_kernel", "numerics", FLAG),
    Row("activation_checkpointing", "speed", FLAG, "memory for time; before transformers 5 another name"),
    Row("activation_checkpointing_kwargs", "speed", MAPPING),
    Row("torch_empty_cache_steps", "speed", whole(1), "memory for time"),
    Row(WORKERS, "speed", whole(0)),
    Row("dataloader_prefetch_factor", "speed", whole(1), needs=Need(WORKERS, 1)),
    Row("dataloader_persistent_workers", "speed", FLAG, needs=Need(WORKERS, 1, only_for=True)),
    Row("dataloader_pin_memory", "speed", FLAG),
    Row("dataloader_multiprocessing_context", "speed", words("fork", "spawn", "forkserver")),
    Row("dataloader_drop_last", "convergence", FLAG),
    Row("dataloader_in_order", "convergence", FLAG),
    Row("logging_steps", "speed", number(0, above=True, kind="either")),
    Row("logging_nan_inf_filter", "speed", FLAG, "true waits for the device in every micro-step"),
    # --- DistributedDataParallel
    Row("ddp.bucket_cap_mb", "numerics", whole(1),
        "`unset` is torch's default: a first bucket of 1 MiB, then 25; an explicit 25 makes the first 25 too"),
    Row("ddp.gradient_as_bucket_view", "speed", FLAG, "saves one copy of the gradients"),
    Row("ddp.static_graph", "speed", FLAG, "only with accumulation 1: elsewhere it is not tried"),
    Row("ddp.find_unused_parameters", "speed", FLAG, "false fails where a parameter gets no gradient"),
    Row("ddp.broadcast_buffers", "convergence", FLAG, "false lets buffers, such as BatchNorm's, drift apart"),
    # --- NCCL
    Row("env.NCCL_ALGO", "numerics", ALGO, DEBUG_ONLY, "2.24 scoped"),
    Row("env.NCCL_PROTO", "numerics", PROTO, DEBUG_ONLY, "2.24 scoped"),
    Row("env.NCCL_MIN_CTAS", "numerics", whole(1, 64), "takes SMs and memory; at most 32 before 2.25", "2.17"),
    Row("env.NCCL_MAX_CTAS", "numerics", whole(1, 64), "at most 32 before 2.25", "2.17"),
    Row("env.NCCL_NTHREADS", "numerics", numbers(64, 128, 256, 512), "other values are clamped in silence"),
    Row("env.NCCL_BUFFSIZE", "numerics", power_of_two(1 << 14, 1 << 28),
        "bytes; memory grows with channels and peers"),
    Row("env.NCCL_P2P_NET_CHUNKSIZE", "numerics", power_of_two(1 << 12, 1 << 28), "bytes; send and receive only"),
    Row("env.NCCL_MIN_P2P_NCHANNELS", "speed", whole(1, 64), "send and receive only"),
    Row("env.NCCL_MAX_P2P_NCHANNELS", "speed", whole(1, 64), "send and receive only"),
    Row("env.NCCL_NVLS_NCHANNELS", "numerics", whole(1, 64)),
    Row("env.NCCL_NVLS_ENABLE", "numerics", LEVEL, "2.27 and 2.28 could hang when resources were short"),
    Row("env.NCCL_COLLNET_ENABLE", "numerics", SWITCH, "", "2.6"),
    Row("env.NCCL_PAT_ENABLE", "numerics", LEVEL, "", "2.23"),
    Row("env.NCCL_CTA_POLICY", "numerics", words("DEFAULT", "EFFICIENCY", "ZERO"),
        "acts on registered buffers only; names since 2.29", "2.27"),
    Row("env.NCCL_CGA_CLUSTER_SIZE", "speed", whole(0, 8), "Hopper and newer", "2.16"),
    Row(QPS, "speed", whole(1, 128), "helps RoCE with ECMP or link aggregation", "2.10"),
    Row("env.NCCL_IB_SPLIT_DATA_ON_QPS", "speed", SWITCH, "0 since 2.20, 1 before", "2.18", Need(QPS, 2)),
    Row("env.NCCL_IB_ADAPTIVE_ROUTING", "speed", SWITCH),
    Row("env.NCCL_IB_PCI_RELAXED_ORDERING", "speed", LEVEL),
    Row("env.NCCL_SOCKET_NTHREADS", "speed", whole(1, 16),
        "TCP only; at most 64 times NSOCKS_PERTHREAD together"),
    Row("env.NCCL_NSOCKS_PERTHREAD", "speed", whole(1, 16),
        "TCP only; at most 64 times SOCKET_NTHREADS together"),
    Row("env.NCCL_CROSS_NIC", "numerics", LEVEL, "no effect with one NIC"),
    Row("env.NCCL_PXN_DISABLE", "speed", SWITCH, "", "2.12"),
    Row("env.NCCL_P2P_PXN_LEVEL", "speed", LEVEL, "", "2.12"),
    Row("env.NCCL_NET_SHARED_COMMS", "speed", SWITCH),
    Row("env.NCCL_NET_GDR_READ", "speed", SWITCH),
    Row("env.NCCL_LAUNCH_ORDER_IMPLICIT", "speed", SWITCH, "", "2.26"),
    Row("env.NCCL_RUNTIME_CONNECT", "speed", SWITCH, "", "2.22"),
    Row("env.TORCH_NCCL_HIGH_PRIORITY", "speed", SWITCH, "NCCL's stream goes first"),
    Row("env.TORCH_NCCL_AVOID_RECORD_STREAMS", "speed", SWITCH, "memory"),
    # --- the rest of the environment
    Row("env.OMP_NUM_THREADS", "numerics", whole(1, 1024), "torchrun sets 1 where it is unset"),
    Row("env.MKL_NUM_THREADS", "numerics", whole(1, 1024)),
    Row("env.TOKENIZERS_PARALLELISM", "speed", words("true", "false")),
    Row("env.PYTORCH_CUDA_ALLOC_CONF", "speed", TEXT, "such as expandable_segments:True"),
    Row("env.PYTORCH_ALLOC_CONF", "speed", TEXT, "the newer name of PYTORCH_CUDA_ALLOC_CONF"),
    Row("env.CUDA_DEVICE_MAX_CONNECTIONS", "speed", whole(1, 32)),
    Row("env.NVIDIA_TF32_OVERRIDE", "numerics", SWITCH, "0 turns TF32 off everywhere"),
    Row("env.MALLOC_ARENA_MAX", "speed", whole(1, 1024), "host memory"),
)  # fmt: skip
BY_NAME = {row.name: row for row in ROWS}
DDP_KEYWORDS = tuple(row.name.removeprefix("ddp.") for row in ROWS if row.name.startswith("ddp."))


def target_of(name: str) -> tuple[Target, str]:
    """Where a knob acts, and what it is called there."""
    for prefix, target in PREFIXES.items():
        if name.startswith(prefix):
            return target, name.removeprefix(prefix)
    return "arguments", name


def legal_for(name: str) -> Legal:
    """What the knob may be set to; anything for one that is not in the table."""
    return BY_NAME[name].legal if name in BY_NAME else ANY


def effect_of(name: str, hold_global_batch: bool) -> Effect:
    """What the knob changes; the worst for TrainingArguments and placeholders that are not in the table."""
    target, key = target_of(name)
    if hold_global_batch and key in GLOBAL_BATCH_FIELDS:
        return "numerics"
    if name in BY_NAME:
        return BY_NAME[name].effect
    return "numerics" if target == "env" else "convergence"


def violated(row: Row, knob: Knob) -> bool:
    """Whether `knob` has a value that needs another knob."""
    return row.needs is not None and (row.needs.only_for is None or row.needs.only_for in knob.choices)


HEADER = """# Knobs

What a study may set, generated from `tuner/paceline_tuner/study/catalogue.py` by
`python -m paceline_tuner.study.catalogue`; a test fails when the two differ.

*speed* changes no result; *numerics* changes the order or precision of sums, so results agree but not bit for
bit; *convergence* changes what is learnt.
"""
TITLES: dict[Target, str] = {
    "arguments": "TrainingArguments",
    "ddp": "DistributedDataParallel keywords",
    "env": "Environment",
}
NOTES: dict[Target, str] = {
    "arguments": "Any other field can be a knob too: the job checks its name, and it counts as *convergence*.",
    "ddp": "Each may also be `unset`, torch's own default. There are no others.",
    "env": "Other variables that start with {prefixes}, and {names}, can be knobs too, and count as *numerics*; "
    "not those that name a library or a file.",
}


def _table(target: Target) -> Iterator[str]:
    yield f"\n## {TITLES[target]}\n"
    yield "| knob | effect | values | since | remark |\n|---|---|---|---|---|"
    for row in ROWS:
        if target_of(row.name)[0] == target:
            need = f"needs {row.needs.knob} of at least {row.needs.least}" if row.needs else ""
            remark = "; ".join(filter(None, (row.remark, need)))
            yield f"| `{row.name}` | {row.effect} | {row.legal.text} | {row.since} | {remark} |"
    others = sorted(name for name in ALLOWED_NAMES if f"env.{name}" not in BY_NAME)
    prefixes = ", ".join(f"`{prefix}`" for prefix in ALLOWED_PREFIXES)
    note = NOTES[target].format(prefixes=prefixes, names=", ".join(f"`{name}`" for name in others))
    yield f"\n{note}\n\nSource: {SOURCES[target]}."


def _refused() -> Iterator[str]:
    yield "\n## Placeholders\n"
    yield "`placeholder.NAME` goes where the command says `{NAME}`. It needs a default, counts as *convergence*,"
    yield "and takes any text, number, true or false."
    yield "\n## Refused\n"
    yield "| name | why, and what to do |\n|---|---|"
    yield f"| `auto_find_batch_size` | {AUTO_BATCH} |"
    for old, new in RENAMED.items():
        yield f"| `{old}` | write {new} |"
    for name, reason in REFUSED_ENV.items():
        yield f"| `env.{name}` | {reason} |"
    owned = ", ".join(f"`{name}`" for name in OWNED)
    yield f"\nEvery trial sets these itself, so that it leaves the job's own files alone: {owned}."


def document() -> str:
    """The text of docs/knobs.md."""
    tables = (line for target in TITLES for line in _table(target))
    return "\n".join((HEADER.rstrip(), *tables, *_refused())) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
