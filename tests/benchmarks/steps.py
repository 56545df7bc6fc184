"""What the hooks cost the training thread, on real Trainer jobs of about 100 ms a step, in one process.

    python tests/benchmarks/steps.py --output build/bench/steps.json
    python tests/benchmarks/steps.py --device cuda --output build/bench/steps_gpu.json

Keys, each with its number of samples:
hook_p50_us, hook_p99_us: our own code per step of a job whose arithmetic runs on the same core and leaves no
    cache warm: steps with and without our wrappers in turn, each wrapper and what it wraps under a stopwatch,
    less what the stopwatches cost in the steps without. They share clock and interpreter with the wrappers: what
    the job's own Python would fetch into the caches anyway is not counted;
hook_gross_p50_us: the same before the stopwatches' own cost is taken off, hook_watch_p50_us;
hook_device_p50_us, hook_device_p99_us: the same on a host that waits for a device: as many calls of Python and of
    torch's dispatcher, on a model so small that its arithmetic is nothing, and at the end of training_step, where
    Trainer waits for the loss, a sleep until the step has taken 100 ms. What runs on the core meanwhile, and its
    idle states, empty the caches. It does not model what the hooks do for a real device (events, pinned copies,
    `late.py`), nor CUDA's launches: here losses are read at once;
hook_warm_p50_us, hook_warm_p99_us: the hooks of a plain loop step after step with nothing in between;
hook_share: hook_p50_us over the median step;
onoff_cost, onoff_cost_ci95: relative difference of step time between blocks of two steps with the hooks on and
    off, of which each round has one half, all, and the other half: the median of the rounds, and the two of them
    between which it lies with 95 % whatever their distribution (order statistics). Longer blocks give a wider
    interval, as a machine's pace wanders;
attach_ms: start-up of an interpreter with and without us, alternating.

With `--device cuda` a Trainer on the first GPU: hook_p50_us, hook_p99_us and hook_share as above, with the marks
on the stream and the pinned copies that come with a GPU, and the name of the device.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paceline_agent.supervise.launch import ATTACH_PATH

ROUND = (False, True, True, False)
"""Whether the hooks are on, step by step: blocks of two, and what drifts steadily is taken out."""
SHARED_MEMORY = "/dev/shm"
"""Where rings are, by default: on a disk the first write to a page after each write-back takes milliseconds."""
STEP_SECONDS = 0.1
"""Of the job that waits for a device."""


def main() -> None:
    """Run everything and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/bench/steps.json"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        figures = on_gpu(arguments.steps)
    else:
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
    """Three Trainer runs in one process: two to time the hooks, one to switch them on and off."""
    import torch

    torch.set_num_threads(1)  # all arithmetic on the hooks' own core, and no thread that waits for another
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as directory:
        os.environ["PACELINE_RING_DIR"] = str(Path(directory) / "rings")
        stopwatch = _Stopwatch()
        _patch(stopwatch)
        timed, device, switched = _Timed(stopwatch), _Timed(stopwatch), _Switched(stopwatch)
        _train(directory, steps, timed, width=256)
        _train(directory, steps, device, width=32, step_seconds=STEP_SECONDS)
        _train(directory, 6 * steps, switched, width=256)
        stopwatch.on = True
        warm = _warm()
    on_device = {name.replace("hook_", "hook_device_"): value for name, value in device.costs().items()}
    return {**timed.costs(), **timed.share(), **on_device, **warm, **switched.figures()}


def on_gpu(steps: int) -> dict[str, Any]:
    """A Trainer run on one GPU that times the hooks."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    import torch

    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as directory:
        os.environ["PACELINE_RING_DIR"] = str(Path(directory) / "rings")
        stopwatch = _Stopwatch()
        _patch(stopwatch)
        timed = _Timed(stopwatch)
        _train(directory, steps, timed, width=1024, layers=12, batch=8, cpu=False)
    return {"device": torch.cuda.get_device_name(0), **timed.costs(), **timed.share()}


def _warm(steps: int = 20_000) -> dict[str, Any]:
    """The hooks around calls that do nothing, against the same calls without them; microseconds per step."""
    import torch

    from paceline_exporters.attach import batches, clipping, loop
    from paceline_exporters.attach.clock import clock

    def nothing(*_: Any, **__: Any) -> Any:
        return batch

    loss, batch = torch.tensor(1.0), {"input_ids": torch.zeros(4, 128, dtype=torch.long)}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    fetch, backward = batches.watched_next(nothing), loop.watched_backward(nothing, torch.Tensor)
    clip = clipping.watched_norm(lambda _: loss)

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


def _train(
    directory: str,
    steps: int,
    bench: _Bench,
    width: int,
    step_seconds: float = 0.0,
    layers: int = 4,
    batch: int = 2,
    cpu: bool = True,
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    from paceline_tuner.demo.train import Bytes, text

    class Follows(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            bench.begin(trainer)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            bench.step()

    class Waits(Trainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **keywords: Any) -> Any:
            loss = super().training_step(*args, **keywords)
            rest = bench.ended + step_seconds - time.perf_counter()
            if rest > 0.0:
                time.sleep(rest)
            return loss

    config = GPT2Config(
        vocab_size=256, n_positions=128, n_embd=width, n_layer=layers, n_head=4, bos_token_id=0, eos_token_id=0
    )
    arguments = TrainingArguments(
        output_dir=str(Path(directory) / "out"),
        per_device_train_batch_size=batch,
        max_steps=steps,
        save_strategy="no",
        use_cpu=cpu,
        disable_tqdm=True,
    )
    trainer = Waits(
        model=GPT2LMHeadModel(config), args=arguments, train_dataset=Bytes(text(), 128), callbacks=[Follows()]
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


class _Batches:
    """An iterator whose every fetch is a call to `fetch`."""

    def __init__(self, fetch: Callable[[], Any]) -> None:
        self._fetch = fetch

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        return self._fetch()


def _patch(stopwatch: _Stopwatch) -> None:
    """All our hooks on torch and accelerate, each between two stopwatches."""
    import accelerate.data_loader
    import torch
    import torch.utils.data.dataloader
    from torch.optim import optimizer

    from paceline_exporters.attach import batches, clipping, loop, steps

    loader, shard = torch.utils.data.dataloader._BaseDataLoaderIter, accelerate.data_loader.DataLoaderShard
    with stopwatch.around(
        (torch.autograd, "backward"), (torch.nn.utils, "clip_grad_norm_"), (loader, "__next__")
    ):
        loop.patch(torch)
        clipping.patch(torch.nn.utils)
        batches.patch(torch.utils.data.dataloader)
    original = shard.__iter__

    def __iter__(self: Any) -> Any:
        bare = stopwatch.inside(original(self).__next__)
        return _Batches(stopwatch.outside(batches.timed(_Batches(bare)).__next__, bare))

    shard.__iter__ = __iter__
    module: Any = steps
    module.timed = lambda iterator: iterator  # these it does not know for ours, and would time once more
    for hooks in (optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks):
        ((key, hook),) = hooks.items()
        hooks[key] = stopwatch.outside(hook, lambda *_: None)


class _Bench:
    """Follows a Trainer's steps, our wrappers being under a stopwatch that leaves them in or out."""

    def __init__(self, stopwatch: _Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.ended = 0.0
        """When the latest step ended."""
        self.durations: list[tuple[bool, float]] = []
        """Of all steps but the first: with our wrappers?, seconds."""

    def begin(self, trainer: Any) -> None:
        from paceline_exporters.attach.steps import StepClock

        self.clock = StepClock(trainer, before_first_step=lambda _: None)
        names = ("get_batch_samples", "training_step", "_maybe_log_save_evaluate")
        with self.stopwatch.around(*((trainer, name) for name in names)):
            self.clock.install()

    def step(self) -> None:
        now = time.perf_counter()
        if self.ended:
            self.durations.append((self.stopwatch.on, now - self.ended))
        self.turn()
        self.stopwatch.outer = self.stopwatch.inner = 0.0
        self.ended = now

    def turn(self) -> None:
        """A step ended: choose how the next one runs."""
        raise NotImplementedError


class _Timed(_Bench):
    """Every other step runs without our wrappers, but under the same stopwatches."""

    def __init__(self, stopwatch: _Stopwatch) -> None:
        super().__init__(stopwatch)
        self._costs: dict[bool, list[float]] = {True: [], False: []}

    def turn(self) -> None:
        watch = self.stopwatch
        self._costs[watch.on].append((watch.outer - watch.inner) * 1e6)
        watch.on = not watch.on

    def costs(self) -> dict[str, Any]:
        gross, watch = (self._costs[on][10:] for on in (True, False))
        control = statistics.median(watch)
        return {
            "hook_p50_us": round(statistics.median(gross) - control, 2),
            "hook_p99_us": round(float(np.percentile(gross, 99)) - control, 2),
            "hook_gross_p50_us": round(statistics.median(gross), 2),
            "hook_watch_p50_us": round(control, 2),
            "hook_watch_p99_us": round(float(np.percentile(watch, 99)), 2),
            "hook_steps": len(gross),
        }

    def share(self) -> dict[str, Any]:
        median = statistics.median(seconds for _, seconds in self.durations[10:])
        share = self.costs()["hook_p50_us"] / 1e6 / median
        return {"step_median_ms": round(median * 1e3, 2), "hook_share": round(share, 6)}


class _Switched(_Bench):
    """Steps with the hooks off, on, on and off."""

    def turn(self) -> None:
        self.stopwatch.on = ROUND[len(self.durations) % len(ROUND)]

    def figures(self) -> dict[str, Any]:
        rounds = zip(*[iter(self.durations[len(ROUND) :])] * len(ROUND), strict=False)
        costs = sorted(map(_cost, rounds))
        outside = _outside(len(costs))
        return {
            "onoff_cost": round(statistics.median(costs), 5),
            "onoff_cost_ci95": [round(costs[outside], 5), round(costs[-1 - outside], 5)],
            "onoff_rounds": len(costs),
        }


def _cost(steps: Sequence[tuple[bool, float]]) -> float:
    """Of one round, relative."""
    spent = {which: sum(seconds for on, seconds in steps if on == which) for which in (True, False)}
    return spent[True] / spent[False] - 1


def _outside(count: int) -> int:
    """How many of `count` sorted values lie on either side of the 95 % interval of their median."""
    below, outside = 0.5**count, 0
    while below <= 0.025:
        outside += 1
        below += math.comb(count, outside) * 0.5**count
    return max(0, outside - 1)


if __name__ == "__main__":
    main()
