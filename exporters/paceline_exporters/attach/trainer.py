"""Hugging Face Trainer: measured while train() runs, verified before its first step, ended where a trial ends."""

from __future__ import annotations

import functools
import time
from typing import Any

from . import arguments, checkpoints, crash, ddp, describe, harness, models, proposal, session
from .agreement import agree
from .clock import clock
from .notice import failed
from .steps import StepClock, evaluated
from .stop import Rejected


def patch(module: Any) -> None:
    """Wrap train, evaluate and saving of transformers.trainer's Trainer."""
    cls = module.Trainer
    train, evaluate = _wrapped_train(cls.train), _wrapped_evaluate(cls.evaluate)  # both, or neither
    cls.train, cls.evaluate = train, evaluate
    cls._save_checkpoint = checkpoints.watched(cls._save_checkpoint)


def _wrapped_train(original: Any) -> Any:
    @functools.wraps(original)
    def train(self: Any, *args: Any, **keywords: Any) -> Any:
        watch = None
        try:
            args, keywords = harness.from_the_beginning(args, keywords)
            watch = _begin(self)
            answer = original(self, *args, **keywords)
            _remove(watch)
            harness.evaluate(self)
            session.event("end", float(clock.number), how="finished")
            harness.finish()
        except Rejected as rejected:
            _remove(watch, wait=False)
            raise session.reject(rejected) from None
        except BaseException as error:
            _remove(watch, wait=False)
            _raised(error, self)
            raise
        return answer

    return train


def _begin(trainer: Any) -> StepClock | None:
    harness.prepare(trainer)
    watch = None
    try:
        if session.recorder() is not None:
            watch = StepClock(trainer, before_first_step=verify)
            watch.install()
            return watch
    except Exception as error:  # a Trainer we do not know must still train
        failed("watching the Trainer", error)
        _remove(watch, wait=False)
    if proposal.given():
        verify(trainer, built=False)
    return None


def _remove(watch: StepClock | None, wait: bool = True) -> None:
    try:
        if watch is not None:
            watch.remove(wait)
    except Exception as error:  # telemetry must not stop training, nor hide why it stopped
        failed("writing the last steps", error)


def verify(trainer: Any, built: bool = True) -> None:
    """Before the first step: what took effect, is it what was proposed, and the same on all ranks?

    `built`: DistributedDataParallel is, where the job uses it. Raises Rejected.
    """
    try:
        _verify(trainer, built)
    except Exception as error:  # arguments or a model that we cannot describe
        if proposal.given():
            text = f"what took effect cannot be read back: {type(error).__name__}: {error}"
            raise Rejected("not_effective", text) from error
        failed("describing the job", error)


def _verify(trainer: Any, built: bool) -> None:
    models.forget()  # a Trainer has its model
    actual = arguments.effective(trainer.args)
    session.describe(
        effective={"arguments": actual, "ddp": ddp.constructed[-1] if ddp.constructed else {}},
        device=str(trainer.args.device),
        **describe.work(list(trainer.model.parameters())),
    )
    if proposal.given():
        arguments.check_effective(trainer.args)
        if built and proposal.section("ddp") and not ddp.constructed:
            raise Rejected(
                "not_effective", "the job builds no DistributedDataParallel, so ddp keywords have no effect"
            )
    compared = {name: actual.get(name) for name in proposal.section("arguments")}
    compared["proposal"] = proposal.current().get("hash", "none")
    agree(
        f"{session.attempt()}/arguments", compared, session.rank(), session.world_size(), binding=proposal.given()
    )


def _wrapped_evaluate(original: Any) -> Any:
    @functools.wraps(original)
    def evaluate(self: Any, *args: Any, **keywords: Any) -> Any:
        began = time.monotonic()
        metrics = original(self, *args, **keywords)
        try:
            evaluated(began, time.monotonic())
            harness.evaluated(metrics, float(self.state.global_step))
        except Exception as error:  # telemetry must not stop training
            failed("recording an evaluation", error)
        return metrics

    return evaluate


def _raised(error: BaseException, trainer: Any) -> None:
    crash.raised(error, float(getattr(getattr(trainer, "state", None), "global_step", "nan")))
