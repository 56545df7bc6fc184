"""What the hooks cost the training thread, on a real Trainer job of about 100 ms a step, one process.

    python tests/benchmarks/steps.py --output build/bench/steps.json

Keys, each with its number of samples:
hook_p50_us, hook_p99_us: our own code per step of that job, measured around each wrapper with the wrapped call
    taken out; the model's arithmetic runs on the same core and leaves no cache warm;
hook_warm_p50_us, hook_warm_p99_us: the same code step after step with nothing in between, as on a host whose
    arithmetic is on a GPU;
hook_share: hook_p50_us over the median step;
onoff_cost, onoff_cost_ci95: relative difference of step time between alternating blocks of steps with the hooks
    on and off, in one process;
attach_ms: start-up of an interpreter with and without us, alternating.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from paceline_agent.supervise.launch import ATTACH_PATH

BLOCK = 10
"""Steps of a block with the hooks on, or off."""


def main() -> None:
    """Run everything and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/bench/steps.json"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--starts", type=int, default=40)
    arguments = parser.parse_args()
    figures = {**attach(arguments.starts), **job(arguments.steps)}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=1) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


def attach(pairs: int) -> dict[str, float]:
    """Start-up of a bare interpreter, with minus without, in alternating pairs; milliseconds."""
    differences = []
    for _ in range(pairs):
        without, attached = (_start(extra) for extra in ({}, {"PYTHONPATH": str(ATTACH_PATH)}))
        differences.append((attached - without) * 1e3)
    return {
        "attach_ms": round(statistics.median(differences), 3),
        "attach_p99_ms": round(float(np.percentile(differences, 99)), 3),
        "attach_pairs": pairs,
    }


def _start(extra: dict[str, str]) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], env={**environment, **extra}, check=True)
    return time.perf_counter() - began


def job(steps: int) -> dict[str, Any]:
    """Two Trainer runs in one process: one to time the hooks, one to switch them on and off."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PACELINE_RING_DIR"] = str(Path(directory) / "rings")
        timed = _Timed()
        _train(directory, steps // 2, timed)
        switched = _Switched()
        _train(directory, steps, switched)
        warm = _warm()
    return {**timed.figures(), **warm, **switched.figures()}


def _warm(steps: int = 20_000) -> dict[str, Any]:
    """The hooks around calls that do nothing, against the same calls without them; microseconds per step."""
    import torch

    from paceline_exporters.attach.recorder import Recorder
    from paceline_exporters.attach.steps import StepClock

    def nothing(*_: Any, **__: Any) -> Any:
        return loss

    loss = torch.tensor(1.0)
    inputs = {"input_ids": torch.zeros(4, 128, dtype=torch.long)}
    trainer: Any = SimpleNamespace(
        args=SimpleNamespace(device=torch.device("cpu")),
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(backward=nothing),
        model_wrapped=None,
        get_batch_samples=lambda iterator, *_: next(iterator),
        training_step=lambda *_: trainer.accelerator.backward(loss),
        _maybe_log_save_evaluate=nothing,
    )
    recorder = Recorder(os.environ["PACELINE_RING_DIR"], {})
    clock = StepClock(trainer, recorder, before_first_step=lambda _: None)
    batches = itertools.repeat(inputs)

    def one(begins: Callable[..., Any], ended: Callable[..., Any]) -> float:
        began = time.perf_counter()
        trainer.training_step(None, trainer.get_batch_samples(batches, 1, None))
        begins()
        ended()
        trainer.state.global_step += 1
        trainer._maybe_log_save_evaluate(loss, loss, learning_rate=1e-4)
        return (time.perf_counter() - began) * 1e6

    bare = statistics.median(one(nothing, nothing) for _ in range(steps))
    clock.install()
    hooked = [one(clock._optimizer_begins, clock._optimizer_ended) - bare for _ in range(steps)]
    clock.remove()
    return {
        "hook_warm_p50_us": round(statistics.median(hooked), 2),
        "hook_warm_p99_us": round(float(np.percentile(hooked, 99)), 2),
        "hook_warm_steps": steps,
    }


def _train(directory: str, steps: int, bench: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    from paceline_exporters.attach import session
    from paceline_exporters.attach.steps import StepClock
    from paceline_tuner.demo.train import Bytes, text

    class Begin(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            recorder = session.recorder()
            assert recorder is not None
            bench.begin(trainer, StepClock(trainer, recorder, before_first_step=lambda _: None))

        def on_step_end(self, *_: Any, **__: Any) -> None:
            bench.step()

    config = GPT2Config(
        vocab_size=256, n_positions=128, n_embd=256, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0
    )
    arguments = TrainingArguments(
        output_dir=str(Path(directory) / "out"),
        per_device_train_batch_size=4,
        max_steps=steps,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=GPT2LMHeadModel(config), args=arguments, train_dataset=Bytes(text(), 128), callbacks=[Begin()]
    )
    trainer.train()
    bench.clock.remove()


class _Timed:
    """Puts a stopwatch inside and outside of each of our wrappers: the difference is ours."""

    def begin(self, trainer: Any, clock: Any) -> None:
        self.clock, self.trainer = clock, trainer
        self.hook: list[float] = []
        self.durations: list[float] = []
        self._inner = self._outer = 0.0
        self._ended: float | None = None
        self.names = (
            (trainer, "get_batch_samples"),
            (trainer, "training_step"),
            (trainer.accelerator, "backward"),
            (trainer, "_maybe_log_save_evaluate"),
        )
        for owner, name in self.names:
            owner.__dict__[name] = self._watch(getattr(owner, name), "_inner")
        for name in ("_optimizer_begins", "_optimizer_ended"):
            setattr(clock, name, self._watch(getattr(clock, name), "_outer"))
        clock.install()
        for owner, name in self.names:
            owner.__dict__[name] = self._watch(getattr(owner, name), "_outer")
        self.watch_us = self._cost_of_watching()

    def _watch(self, call: Callable[..., Any], account: str) -> Callable[..., Any]:
        def watched(*args: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **keywords)
            finally:
                setattr(self, account, getattr(self, account) + time.perf_counter() - began)

        return watched

    def _cost_of_watching(self) -> float:
        """What one stopwatch adds to the one around it, microseconds."""
        self._outer = 0.0
        nothing = self._watch(self._watch(lambda: None, "_inner"), "_outer")
        for _ in range(10_000):
            nothing()
        cost = (self._outer - self._inner) / 10_000 * 1e6
        self._inner = self._outer = 0.0
        return cost

    def step(self) -> None:
        now = time.perf_counter()
        if self._ended is not None:
            self.durations.append(now - self._ended)
            self.hook.append((self._outer - self._inner) * 1e6 - len(self.names) * self.watch_us)
        self._inner = self._outer = 0.0
        self._ended = now

    def figures(self) -> dict[str, Any]:
        hook, median = self.hook[5:], statistics.median(self.durations[5:])
        p50 = statistics.median(hook) + _iterator_us()
        return {
            "hook_p50_us": round(p50, 2),
            "hook_p99_us": round(float(np.percentile(hook, 99)) + _iterator_us(), 2),
            "hook_steps": len(hook),
            "step_median_ms": round(median * 1e3, 2),
            "hook_share": round(p50 / 1e6 / median, 6),
        }


def _iterator_us() -> float:
    """The timed iterator runs inside the wrapped call, so it is measured by itself; microseconds per next()."""
    from paceline_exporters.attach.steps import _TimedIterator

    class Clock:
        _data = 0.0

    def endless() -> Iterator[int]:
        while True:
            yield 0

    def cost(iterator: Iterator[int]) -> float:
        began = time.perf_counter()
        for _ in range(20_000):
            next(iterator)
        return (time.perf_counter() - began) / 20_000 * 1e6

    clock: Any = Clock()
    return max(0.0, cost(_TimedIterator(endless(), clock)) - cost(endless()))


class _Switched:
    """Blocks of steps with the hooks on and off, in turn; each neighbouring couple of blocks is a pair."""

    def begin(self, trainer: Any, clock: Any) -> None:
        self.clock = clock
        self.blocks: list[tuple[bool, float]] = []
        self._on, self._count, self._durations = False, 0, []
        self._ended: float | None = None

    def step(self) -> None:
        now = time.perf_counter()
        if self._ended is not None:
            self._durations.append(now - self._ended)
        self._ended = now
        self._count += 1
        if self._count % BLOCK == 0:
            self.blocks.append((self._on, statistics.median(self._durations[-BLOCK + 1 :])))
            self._on = not self._on
            (self.clock.install if self._on else self.clock.remove)()

    def figures(self) -> dict[str, Any]:
        kept = self.blocks[2:]
        ratios = []
        for (first_on, first), (_, second) in zip(kept[::2], kept[1::2], strict=False):
            on, off = (first, second) if first_on else (second, first)
            ratios.append(on / off - 1)
        random = np.random.default_rng(0)
        resampled = np.median(random.choice(ratios, (10_000, len(ratios))), axis=1)
        low, high = np.percentile(resampled, [2.5, 97.5])
        return {
            "onoff_cost": round(statistics.median(ratios), 5),
            "onoff_cost_ci95": [round(float(low), 5), round(float(high), 5)],
            "onoff_pairs": len(ratios),
        }


if __name__ == "__main__":
    main()
