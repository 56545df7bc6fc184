"""The ring's binary layout: one file per rank, shared by the recorder that writes it and everyone who reads it.

    0        prefix (binary, fixed, 64 bytes)
    256      cursors: next step record, next event
    320      what the rank does now, and since when
    512      header slot 0: generation, length, CRC, JSON
    33024    header slot 1
    65536    step ring: 4096 records of 512 bytes
    2162688  event ring: 128 records of 1024 bytes

All numbers are little-endian. A record is valid when its sequence lock is even and belongs to the record's
number, and its checksum matches. A reader needs no lock and no map: it preads and checks.
"""

from __future__ import annotations

import struct

MAGIC = b"PACELINE"
VERSION = 1

PREFIX = struct.Struct("<8sIIIIIII16sQI")
"""magic, version, header bytes, step record bytes, step capacity, event record bytes, event capacity,
step field count, ring UUID, creation wall time (ns), CRC-32 of all that stands before it."""

CURSOR_OFFSET = 256
CURSOR = struct.Struct("<QQ")
"""Next step record number, next event number. Written after the record; a hint to readers, never trusted."""

PHASES = (
    "",
    "data_wait",
    "sync_wait",
    "forward",
    "backward",
    "optimizer",  # from backward's end: clipping, and what else the loop does before the step's end
    "pause",  # between a step's end and the next batch: logging, and what is not told apart
    "evaluation",
    "checkpoint",
)
DATA_WAIT, SYNC_WAIT, FORWARD, BACKWARD, OPTIMIZER, PAUSE, EVALUATION, CHECKPOINT = range(1, len(PHASES))

SINCE_OFFSET = 320
SINCE = struct.Struct(f"<{len(PHASES)}d")
"""When the rank last began each of PHASES, seconds of CLOCK_MONOTONIC; the latest of them is what it does now.
All 0.0 where nothing was said yet. Each is stored whole, so that none is ever torn, and as it comes from the
clock: to pack phase and time into one word cost 7 us where the caches are cold, this costs 2."""

HEADER_BYTES = 65536
SLOT_OFFSETS = (512, 33024)
SLOT = struct.Struct("<QII")
"""generation (0 = never written), JSON length in bytes, CRC-32 of the JSON."""
SLOT_BYTES = 32512
SLOT_JSON_BYTES = SLOT_BYTES - SLOT.size

STEP_CAPACITY = 4096
STEP_BYTES = 512
EVENT_CAPACITY = 128
EVENT_BYTES = 1024
STEPS_OFFSET = HEADER_BYTES
EVENTS_OFFSET = STEPS_OFFSET + STEP_CAPACITY * STEP_BYTES
FILE_BYTES = EVENTS_OFFSET + EVENT_CAPACITY * EVENT_BYTES

LOCK = struct.Struct("<Q")
"""Sequence lock at the start of each record: 2n+1 while record n is written, 2n+2 when it is complete."""
NUMBER = struct.Struct("<Q")
"""The record's number n, counted from 0; record n lives in slot n modulo capacity."""
CHECKSUM = struct.Struct("<I")
"""Adler-32 (RFC 1950) of the record's body: for a step the number and the declared fields, for an event all up to
the checksum, which ends the record. Adler-32 and not CRC-32: after a 100 ms step zlib's CRC tables have left the
cache, and fetching them again costs 9 us."""
BODY_OFFSET = LOCK.size

STEP_FIELDS = (
    "step",  # optimizer step of the job: TrainerState.global_step, else counted from 1 in this process
    "monotonic",  # CLOCK_MONOTONIC at the step's end, seconds
    "wall",  # Unix time at the step's end, seconds
    "samples",  # sequences or images of this rank in this step
    "tokens",  # input tokens of this rank in this step, padding included
    "micro_steps",  # forward/backward passes accumulated into this step
    "loss",  # sum of what training_step returned, else of what backward() was called on, before a GradScaler
    "grad_norm",  # before clipping; where the job clips nothing, taken in sampled steps
    "learning_rate",  # as used by this step
    "step_seconds",  # from the previous step's end to this one's, without pause_seconds
    "data_wait_seconds",  # next() of the data loader only
    "sync_wait_seconds",  # before the step all but data wait (Trainer's token-count gather absorbs other ranks'
    # skew), and in it collectives of the job's own outside of backward(), which are in no other phase
    "forward_seconds",  # from the batch, or whatever came last before it, to backward()
    "backward_seconds",  # with DDP this contains the gradient all-reduce
    "optimizer_seconds",  # optimizer.step()
    "other_seconds",  # the rest of step_seconds: clipping, bookkeeping, callbacks
    "pause_seconds",  # logging, evaluation, checkpointing since the previous step; not in step_seconds
    "ddp_compute_seconds",  # DDP logger, where sampled: backward compute
    "ddp_comm_seconds",  # DDP logger, where sampled: gradient communication
    "ddp_exposed_seconds",  # DDP logger, where sampled: communication not hidden behind compute
    "gpu_memory_peak_bytes",  # torch.cuda.max_memory_allocated, where sampled
    "real_tokens",  # tokens without padding (attention_mask), where sampled
    "clip_seconds",  # gradient clipping; part of other_seconds
    "compile_seconds",  # torch.compile at work: the step is not slow; part of forward, backward, other
    "evaluation_seconds",  # part of pause_seconds
    "checkpoint_seconds",  # part of pause_seconds
    "gpu_memory_allocated_bytes",  # torch's caching allocator, where sampled
    "gpu_memory_reserved_bytes",  # torch's caching allocator, where sampled
    "allocator_retries",  # cudaMalloc calls since the start that needed the cache flushed first, where sampled
    "grad_norm_first_micro",  # this rank's gradients after the first of several micro-steps, where sampled
    "gpu_forward_seconds",  # between CUDA events on the training stream
    "gpu_backward_seconds",
    "gpu_optimizer_seconds",
    "gpu_step_seconds",  # from the first forward to the optimizer's end; data wait in between included
    "optimizer_skipped",  # 1 where a GradScaler left the optimizer's step out, else unknown
    "backward_compute_seconds",  # of backward, until the rank's own last gradient; the rest is waiting. DDP only
    "gpu_backward_compute_seconds",  # the same between CUDA events
)
"""One float64 each, in this order. Unknown is NaN, never 0. New fields are appended; a reader takes as many
fields as the file declares and it knows."""

STEP_BODY = struct.Struct(f"<Q{len(STEP_FIELDS)}d")
STEP_CHECKSUM_OFFSET = STEP_BYTES - CHECKSUM.size
EVENT_CHECKSUM_OFFSET = EVENT_BYTES - CHECKSUM.size
EVENT_HEAD = struct.Struct("<QddI")
"""number, wall time (seconds), step (NaN when before the first), JSON length."""
EVENT_JSON_BYTES = EVENT_BYTES - LOCK.size - EVENT_HEAD.size - CHECKSUM.size

EVENT_KINDS = (
    "start",  # recorder is up, before the first step
    "first_step",
    "evaluation",  # detail: metrics
    "checkpoint",
    "oom",  # an allocation failed; detail: message
    "nan",  # the first loss that is not finite
    "exception",  # detail: type, message
    "rejected",  # a proposal that did not take effect; detail: reason, code
    "end",  # of training; detail: how: finished, exit (the process ended: its status tells), oom, exception
)


def step_offset(number: int) -> int:
    """File offset of step record `number`."""
    return STEPS_OFFSET + (number % STEP_CAPACITY) * STEP_BYTES


def event_offset(number: int) -> int:
    """File offset of event record `number`."""
    return EVENTS_OFFSET + (number % EVENT_CAPACITY) * EVENT_BYTES
