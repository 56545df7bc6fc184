"""This process's ring and who it is; made when training begins, or when there is something to say before."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from typing import Any

from . import control, proposal
from .agreement import default_store, initialized
from .notice import failed, say
from .recorder import DEFAULT_DIRECTORY, Recorder, RecorderError
from .stop import Rejected

_NOT_MADE = object()
_recorder: Any = _NOT_MADE


def rank() -> int:
    """As the process group says, else RANK, else 0. Ranks that were spawned, not launched, have no RANK."""
    distributed = initialized()
    return _integer("RANK", 0) if distributed is None else int(distributed.get_rank())


def world_size() -> int:
    """As the process group says, else WORLD_SIZE, else 1."""
    distributed = initialized()
    return _integer("WORLD_SIZE", 1) if distributed is None else int(distributed.get_world_size())


def local_rank() -> int:
    """LOCAL_RANK, else the CUDA device in use, else the rank: who spawns ranks does so on one node."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    device = cuda.current_device() if cuda is not None and cuda.is_initialized() else rank()
    return _integer("LOCAL_RANK", device)


def attempt() -> int:
    """How often the launcher restarted this run."""
    return _integer("TORCHELASTIC_RESTART_COUNT", 0)


def recorder() -> Recorder | None:
    """This process's recorder; None when a ring cannot be made (said once) or in a forked child."""
    global _recorder
    if _recorder is _NOT_MADE:
        try:
            directory = os.environ.get("PACELINE_RING_DIR") or DEFAULT_DIRECTORY
            _recorder = Recorder(directory, _identity())
            _recorder.event("start")
            control.start(_recorder.path)
        except RecorderError as error:
            _recorder = None
            say(f"steps are not recorded: {error}")
        except Exception as error:  # telemetry must not stop training
            _recorder = None
            failed("recording steps", error)
    return _recorder if _recorder is not None and _recorder.writable else None


def made() -> Recorder | None:
    """This process's recorder where it was made already."""
    return None if _recorder is _NOT_MADE else recorder()


def event(kind: str, step: float = float("nan"), **detail: Any) -> None:
    """Record an event; a failure is said once and never raised."""
    try:
        ring = recorder()
        if ring is not None:
            ring.event(kind, step, detail)
    except Exception as error:  # telemetry must not stop training
        failed("recording an event", error)


def describe(**changes: Any) -> None:
    """Merge `changes` into the ring's header; a failure is said once and never raised."""
    try:
        ring = recorder()
        if ring is not None:
            ring.update_header(changes)
    except Exception as error:  # telemetry must not stop training
        failed("describing the run", error)


def reject(rejected: Rejected) -> Rejected:
    """Record and say, once, why the proposal is refused; returns the exception to raise."""
    if rejected.told:
        return rejected
    rejected.told = True
    event("rejected", reason=rejected.reason, code=rejected.reason_code)
    say(f"rank {rank()}: rejected: {rejected.reason}")
    return rejected


def _identity() -> dict[str, Any]:
    data = _proposal()
    return {
        "schema": 1,
        "run_id": run_id(),
        "study": data.get("study"),
        "trial": data.get("trial"),
        "kind": data.get("kind", "normal"),
        "rank": rank(),
        "local_rank": local_rank(),
        "world_size": world_size(),
        "attempt": attempt(),
        "node": os.environ.get("PACELINE_NODE") or os.uname().nodename,  # in a pod the latter is the pod's name
        "started": time.time(),
        "supervisor": os.environ.get("PACELINE_SUPERVISOR", ""),
        "libraries": _libraries(),
        "proposal": {
            key: data[key] for key in ("arguments", "ddp", "env", "placeholders", "hash") if key in data
        },
    }


def _proposal() -> dict[str, Any]:
    try:
        return proposal.current()
    except Rejected:  # that it cannot be read is what this ring is about to say
        return proposal.EMPTY


def run_id() -> str:
    """From the proposal, else the scheduler's job, else the first rank's word through the default store.

    A static multi-node torchrun leaves TORCHELASTIC_RUN_ID=none, so that one is not asked.
    """
    given = _proposal().get("run_id") or os.environ.get("PACELINE_RUN_ID")
    if given:
        return str(given)
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        return "-".join(["slurm", job, os.environ.get("SLURM_STEP_ID", "0")])
    return _shared_id()


def _shared_id() -> str:
    # The supervisor's token outlives restarts, so that they stay attempts of one run.
    own = f"run-{(os.environ.get('PACELINE_SUPERVISOR') or uuid.uuid4().hex)[:12]}"
    store = default_store()
    if store is None:
        return own
    # Whoever comes first decides; nobody waits for a rank that may not be attached.
    return str(store.compare_set("paceline/run_id", "", own).decode())


def _libraries() -> dict[str, str]:
    names = ("torch", "transformers", "accelerate")
    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
    return {"python": sys.version.split()[0], **{name: str(v) for name, v in loaded.items() if v}}


def _integer(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, ""))
    except ValueError:
        return default


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: enumerations by their value, the rest as text where nothing else fits."""
    return json.loads(json.dumps(value, default=lambda odd: getattr(odd, "value", None) or str(odd)))
