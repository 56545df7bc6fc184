"""Hugging Face Trainer: measured while train() runs, verified before its first step, ended where a trial ends."""

from __future__ import annotations

import functools
import sys
from typing import Any

from . import arguments, ddp, harness, proposal, session
from .agreement import agree
from .notice import failed
from .steps import StepClock
from .stop import Rejected, TrialOver


def patch(module: Any) -> None:
    """Wrap Trainer.train and Trainer.evaluate of transformers.trainer."""
    cls = module.Trainer
    cls.train = _wrapped_train(cls.train)
    cls.evaluate = _wrapped_evaluate(cls.evaluate)


def _wrapped_train(original: Any) -> Any:
    @functools.wraps(original)
    def train(self: Any, resume_from_checkpoint: Any = None, *args: Any, **keywords: Any) -> Any:
        if proposal.harness():
            resume_from_checkpoint = None  # a trial starts from the job's own beginning
        try:
            clock = _begin(self)
            answer = original(self, resume_from_checkpoint, *args, **keywords)
            _end(clock, "finished")
            harness.finish(self)
        except TrialOver:
            raise
        except Rejected as rejected:
            raise session.reject(rejected) from None
        except BaseException as error:
            _raised(error, self)
            raise
        return answer

    return train


def _begin(trainer: Any) -> StepClock | None:
    harness.prepare(trainer)
    ring = session.recorder()
    if ring is None:
        if proposal.given():
            verify(trainer)
        return None
    try:
        clock = StepClock(trainer, ring, before_first_step=verify)
        clock.install()
    except Exception as error:  # a Trainer we do not know must still train
        failed("watching the Trainer", error)
        return None
    return clock


def _end(clock: StepClock | None, how: str) -> None:
    if clock is not None:
        clock.remove()
    session.event("end", how=how)


def verify(trainer: Any) -> None:
    """Before the first step: what took effect, is it what was proposed, and the same on all ranks?

    Raises Rejected.
    """
    actual = arguments.effective(trainer.args)
    session.describe(
        effective={"arguments": actual, "ddp": ddp.constructed[-1] if ddp.constructed else {}},
        device=str(trainer.args.device),
        **_work(trainer.model),
    )
    if proposal.given():
        arguments.check_effective(trainer.args)
        if proposal.section("ddp") and not ddp.constructed:
            raise Rejected(
                "not_effective", "the job builds no DistributedDataParallel, so ddp keywords have no effect"
            )
    compared = {name: actual.get(name) for name in proposal.section("arguments")}
    compared["proposal"] = proposal.current().get("hash", "none")
    agree(
        f"{session.attempt()}/arguments", compared, session.rank(), session.world_size(), binding=proposal.given()
    )


def _work(model: Any) -> dict[str, float]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # 6 FLOPs per parameter and token: forward 2, backward 4 (Kaplan et al. 2020, section 2.1)
    return {"parameters": parameters, "flops_per_token": 6.0 * parameters}


def _wrapped_evaluate(original: Any) -> Any:
    @functools.wraps(original)
    def evaluate(self: Any, *args: Any, **keywords: Any) -> Any:
        metrics = original(self, *args, **keywords)
        harness.evaluated(metrics, float(self.state.global_step))
        return metrics

    return evaluate


def _raised(error: BaseException, trainer: Any) -> None:
    step = float(trainer.state.global_step)
    kind = "oom" if out_of_memory(error) else "exception"
    session.event(kind, step, type=type(error).__name__, message=str(error))
    session.event("end", step, how=kind)


def out_of_memory(error: BaseException) -> bool:
    """CUDA's and the host's failed allocations, the latter a plain RuntimeError in torch."""
    cuda = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    text = str(error)
    return isinstance(error, (MemoryError, cuda)) or "can't allocate memory" in text or "out of memory" in text
