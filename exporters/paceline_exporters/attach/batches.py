"""Batches: how long the training process waits for each, and what is in it.

torch's own loader iterators are timed at `next()`. Accelerate's loaders read one batch ahead and put batches on
the device, so there the outer iterator is timed, and a batch counts when it is handed out, not when it is read.
"""

from __future__ import annotations

import functools
import time
from _thread import get_ident
from collections import deque
from collections.abc import Iterator
from typing import Any

from . import describe, evaluation
from .clock import NAN, PHASE_WORD, clock
from .late import READY
from .layout import DATA_WAIT, EVALUATION, FORWARD

_now = time.monotonic
_step = clock.step
MOST_MASK = 2**20
"""Elements of an attention mask that are still added up: 0.3 ms, in sampled steps only."""
NOTHING = (0, 0, NAN)
_readers: list[deque[tuple[int, int, float]]] = []
"""The queue of the outer iterator that is reading now, if one is."""


def patch(module: Any) -> None:
    """Watch torch.utils.data.dataloader."""
    cls = module._BaseDataLoaderIter
    cls.__next__ = watched_next(cls.__next__)


def patch_accelerate(module: Any) -> None:
    """Watch accelerate.data_loader."""
    for name in ("DataLoaderShard", "DataLoaderDispatcher"):
        cls = getattr(module, name, None)
        if cls is not None:
            cls.__iter__ = _watched_iter(cls.__iter__)


def watched_next(original: Any) -> Any:
    """`_BaseDataLoaderIter.__next__`, timed."""

    def __next__(self: Any) -> Any:
        if not clock.listening or get_ident() != clock.thread:
            return original(self)
        if _readers:
            batch = original(self)
            _readers[0].append(count(batch))
            return batch
        if not clock.running:
            _describe(self)
        began = _now()
        clock.words[PHASE_WORD] = int(began * 1e6) << 4 | DATA_WAIT
        counts = NOTHING
        try:
            batch = original(self)
            counts = count(batch)
            return batch
        finally:
            _fetched(began, counts)

    return functools.wraps(original)(__next__)


def _watched_iter(original: Any) -> Any:
    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        return Timed(original(self))

    return __iter__


class Timed:
    """An iterator over batches, timed as a whole."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._read: deque[tuple[int, int, float]] = deque()

    def __iter__(self) -> Timed:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)  # code of the job's own may know its loader

    def __next__(self) -> Any:
        if _readers or not clock.listening or get_ident() != clock.thread:
            return next(self._iterator)
        began = _now()
        clock.words[PHASE_WORD] = int(began * 1e6) << 4 | DATA_WAIT
        counts = NOTHING
        _readers.append(self._read)
        try:
            batch = next(self._iterator)
            counts = self._read.popleft() if self._read else count(batch)
            return batch
        finally:
            _readers.clear()
            _fetched(began, counts)


def _fetched(began: float, counts: tuple[int, int, float]) -> None:
    ended = _now()
    if clock.owner is None:
        if not clock.running:
            _step.reset(began)
        elif evaluation.took(began, ended, counts):
            clock.words[PHASE_WORD] = int(ended * 1e6) << 4 | EVALUATION
            return
        _step.samples += counts[0]
        _step.tokens += counts[1]
        clock.batch = counts
    _step.data += ended - began
    _step.real += counts[2]
    _step.mark = ended
    clock.words[PHASE_WORD] = int(ended * 1e6) << 4 | FORWARD
    if clock.late is not None:
        clock.late.mark(READY)


def count(inputs: Any) -> tuple[int, int, float]:
    """Samples, input tokens, and tokens without padding of a micro-batch; 0 and NaN where they cannot be told."""
    try:
        return _count(inputs)
    except Exception:  # any object may be a batch, and it is the job's, not ours, to be handled
        return NOTHING


def _count(inputs: Any) -> tuple[int, int, float]:
    if isinstance(inputs, (list, tuple)):
        shape = inputs[0].shape
        return (shape[0] if shape else 0), 0, NAN
    if "input_ids" not in inputs:
        for value in inputs.values():
            shape = getattr(value, "shape", ())
            if shape:
                return shape[0], 0, NAN
        return NOTHING
    shape = inputs["input_ids"].shape
    tokens = shape[0] * shape[1] if len(shape) > 1 else shape[0]
    return shape[0], tokens, _real(inputs.get("attention_mask"), tokens) if clock.sampled else NAN


def _real(mask: Any, tokens: int) -> float:
    if mask is None:
        return tokens  # nothing is padding where nothing is masked
    return float(mask.sum()) if mask.is_cpu and mask.numel() <= MOST_MASK else NAN


def _describe(iterator: Any) -> None:
    """Keep how the loader is set up; attributes of torch's own that another version may lack."""
    sampler = getattr(iterator, "_index_sampler", None)
    found = {
        "batch_size": getattr(sampler, "batch_size", None),
        "num_workers": getattr(iterator, "_num_workers", None),
        "prefetch_factor": getattr(iterator, "_prefetch_factor", None),
        "pin_memory": getattr(iterator, "_pin_memory", None),
    }
    describe.loader.update({name: value for name, value in found.items() if value is not None})
