"""What the hooks cost the training thread, on a real Trainer job of about 100 ms a step, one process.

    python tests/benchmarks/steps.py --output build/bench/steps.json

Keys, each with its number of samples:
hook_p50_us, hook_p99_us: our own code per step of that job: steps with and without our wrappers in turn, each
    wrapper and what it wraps under a stopwatch, less what the stopwatches cost in the steps without; the model's
    arithmetic runs on the same core and leaves no cache warm;
hook_gross_p50_us: the same before the stopwatches' own cost is taken off, hook_watch_p50_us;
hook_warm_p50_us, hook_warm_p99_us: the hooks of a plain loop step after step with nothing in between, as on a
    host whose arithmetic is on a GPU;
hook_share: hook_p50_us over the median step;
onoff_cost, onoff_cost_ci95: relative difference of step time between alternating blocks of steps with the hooks
    on and off, in one process;
attach_ms: start-up of an interpreter with and without us, alternating.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
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
        timed.stopwatch.on = True
        switched = _Switched()
        _train(directory, steps, switched)
        warm = _warm()
    return {**timed.figures(), **warm, **switched.figures()}


def _warm(steps: int = 20_000) -> dict[str, Any]:
    """The hooks around calls that do nothing, against the same calls without them; microseconds per step."""
    import torch

    from paceline_exporters.attach import batches, loop
    from paceline_exporters.attach.clock import clock

    def nothing(*_: Any, **__: Any) -> Any:
        return batch

    loss, batch = torch.tensor(1.0), {"input_ids": torch.zeros(4, 128, dtype=torch.long)}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    fetch, backward = batches.watched_next(nothing), loop.watched_backward(nothing, torch.Tensor)
    clip = loop.watched_clipping(lambda _: loss)

    def one(fetch: Any, backward: Any, clip: Any, begins: Any, ended: Any) -> float:
        began = time.perf_counter()
        fetch(None)
        backward(loss)
        clip(None)
        begins(optimizer, (), {})
        ended(optimizer, (), {})
        return (time.perf_counter() - began) * 1e6

    bare = statistics.median(one(*[nothing] * 5) for _ in range(steps))
    clock.off = False
    hooked = [
        one(fetch, backward, clip, loop.optimizer_begins, loop.optimizer_ended) - bare for _ in range(steps)
    ][100:]
    assert clock.count >= steps - 1, f"the loop was not watched: {clock.count} of {steps}"
    return {
        "hook_warm_p50_us": round(statistics.median(hooked), 2),
        "hook_warm_p99_us": round(float(np.percentile(hooked, 99)), 2),
        "hook_warm_steps": len(hooked),
    }


def _train(directory: str, steps: int, bench: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    from paceline_exporters.attach.steps import StepClock
    from paceline_tuner.demo.train import Bytes, text

    class Begin(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            bench.begin(trainer, StepClock(trainer, before_first_step=lambda _: None))

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


class _Stopwatch:
    """Sums of the time in our wrappers (outer) and in what they wrap (inner), the wrappers being in or out."""

    def __init__(self) -> None:
        self.on = True
        self.outer = self.inner = 0.0

    def inside(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **keywords)
            finally:
                self.inner += time.perf_counter() - began

        return watched

    def outside(self, hooked: Callable[..., Any], bare: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return (hooked if self.on else bare)(*args, **keywords)
            finally:
                self.outer += time.perf_counter() - began

        return watched

    @contextlib.contextmanager
    def around(self, *places: tuple[Any, str]) -> Iterator[None]:
        """What is patched inside the block lies between two stopwatches."""
        bare = [self.inside(getattr(owner, name)) for owner, name in places]
        for (owner, name), call in zip(places, bare, strict=True):
            setattr(owner, name, call)
        yield
        for (owner, name), call in zip(places, bare, strict=True):
            setattr(owner, name, self.outside(getattr(owner, name), call))


class _Watched:
    """An iterator under the inner stopwatch."""

    def __init__(self, iterator: Iterator[Any], stopwatch: _Stopwatch) -> None:
        self._next = stopwatch.inside(iterator.__next__)

    def __iter__(self) -> _Watched:
        return self

    def __next__(self) -> Any:
        return self._next()


def _patch(stopwatch: _Stopwatch) -> None:
    """All our hooks on torch and accelerate, each between two stopwatches."""
    import accelerate.data_loader
    import torch
    import torch.utils.data.dataloader
    from torch.optim import optimizer

    from paceline_exporters.attach import batches, loop

    loader, shard = torch.utils.data.dataloader._BaseDataLoaderIter, accelerate.data_loader.DataLoaderShard
    read = shard.__iter__
    shard.__iter__ = lambda self: _Watched(read(self), stopwatch)
    with stopwatch.around(
        (torch.autograd, "backward"), (torch.nn.utils, "clip_grad_norm_"), (loader, "__next__")
    ):
        loop.patch(torch)
        batches.patch(torch.utils.data.dataloader)
        batches.patch_accelerate(accelerate.data_loader)
    timed: Any = batches.Timed
    timed.__next__ = stopwatch.outside(timed.__next__, timed.__next__)
    for hooks in (optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks):
        ((key, hook),) = hooks.items()
        hooks[key] = stopwatch.outside(hook, lambda *_: None)


class _Timed:
    """Every other step runs without our wrappers, but under the same stopwatches."""

    def begin(self, trainer: Any, clock: Any) -> None:
        self.clock = clock
        self.stopwatch = _Stopwatch()
        _patch(self.stopwatch)
        self.durations: list[float] = []
        self.costs: dict[bool, list[float]] = {True: [], False: []}
        self._ended: float | None = None
        names = ("get_batch_samples", "training_step", "_maybe_log_save_evaluate")
        with self.stopwatch.around(*((trainer, name) for name in names)):
            clock.install()

    def step(self) -> None:
        watch, now = self.stopwatch, time.perf_counter()
        if self._ended is not None:
            self.durations.append(now - self._ended)
            self.costs[watch.on].append((watch.outer - watch.inner) * 1e6)
        watch.on = not watch.on
        watch.outer = watch.inner = 0.0
        self._ended = now

    def figures(self) -> dict[str, Any]:
        gross, watch = (self.costs[on][10:] for on in (True, False))
        control, median = statistics.median(watch), statistics.median(self.durations[10:])
        p50 = statistics.median(gross) - control
        return {
            "hook_p50_us": round(p50, 2),
            "hook_p99_us": round(float(np.percentile(gross, 99)) - control, 2),
            "hook_gross_p50_us": round(statistics.median(gross), 2),
            "hook_watch_p50_us": round(control, 2),
            "hook_watch_p99_us": round(float(np.percentile(watch, 99)), 2),
            "hook_steps": len(gross),
            "step_median_ms": round(median * 1e3, 2),
            "hook_share": round(p50 / 1e6 / median, 6),
        }


class _Switched:
    """Blocks of steps with the hooks on and off, in turn; each neighbouring couple of blocks is a pair."""

    def begin(self, trainer: Any, clock: Any) -> None:
        self.clock = clock
        self.blocks: list[tuple[bool, float]] = []
        self._on, self._count = False, 0
        self._durations: list[float] = []
        self._ended: float | None = None

    def step(self) -> None:
        from paceline_exporters.attach.clock import clock

        now = time.perf_counter()
        if self._ended is not None:
            self._durations.append(now - self._ended)
        self._ended = now
        self._count += 1
        if self._count % BLOCK == 0:
            self.blocks.append((self._on, statistics.median(self._durations[-BLOCK + 1 :])))
            self._on = not self._on
            self.clock.remove()
            clock.off = not self._on
            self.clock.install()

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
