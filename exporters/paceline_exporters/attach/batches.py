"""Batches: how long the training process waits for each, and what is in it.

torch's own loader iterators are timed at `next()`. Accelerate's loaders read one batch ahead and put batches on
the device, so there the outer iterator is timed, and a batch counts when it is handed out, not when it is read.
"""

from __future__ import annotations

import functools
import time
from _thread import get_ident
from collections.abc import Iterator
from itertools import chain
from typing import Any

from . import describe, evaluation
from .clock import NAN, Counts, clock
from .late import READY
from .layout import DATA_WAIT, EVALUATION, FORWARD

_now = time.monotonic
MOST_MASK = 2**20
"""Elements of an attention mask that are still added up: 0.3 ms, in sampled steps only."""
MOST_COLUMNS = 4
"""Tensors of equal shape that a batch of tokens may consist of: input, mask, types, labels."""
INDICES = ("torch.int64", "torch.int32")
NOTHING = (0, 0, NAN)
_NO_BATCH = object()


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
    """`_BaseDataLoaderIter.__next__`, timed, unless an outer iterator is."""
    step, thread = clock, get_ident

    @functools.wraps(original)
    def __next__(self: Any) -> Any:
        if step.reading or not step.listening or thread() != step.thread:
            return original(self)
        if not step.running:
            _describe(self)
            step.foretell()
        began = _now()
        step.since[DATA_WAIT] = began
        counts = None
        try:
            batch = original(self)
            counts = count(batch)
            return batch
        finally:
            _fetched(began, counts)

    return __next__


def _watched_iter(original: Any) -> Any:
    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        return timed(original(self))

    return __iter__


def timed(iterator: Iterator[Any]) -> Iterator[Any]:
    """The same batches, each fetch timed as a whole. A generator, as accelerate's own are: all that it needs lies
    in its frame."""
    step, now, thread, begins = clock, _now, get_ident, DATA_WAIT
    watched, began = False, 0.0
    try:
        for batch in chain((_NO_BATCH,), iterator):
            if batch is not _NO_BATCH:
                if watched:
                    watched = step.reading = False
                    _fetched(began, count(batch))
                yield batch
                batch = None  # the job's to drop, before the next one is fetched
            if step.listening and not step.reading and (step.owner is not None or thread() == step.thread):
                watched = step.reading = True
                step.since[begins] = began = now()
    finally:
        if watched:  # there was no batch any more
            step.reading = False
            _fetched(began, None)


TIMED = timed.__code__


def _fetched(began: float, counts: Counts | None) -> None:
    step, ended = clock, _now()
    if step.owner is None:
        if not step.running:
            step.reset(began)
        elif evaluation.took(began, ended, counts):
            step.since[EVALUATION] = ended
            return
    if counts is not None:
        step.take_batch(counts)
    step.data += ended - began
    step.mark = ended
    step.since[FORWARD] = ended
    if step.late is not None:
        step.late.mark(READY)


def count(inputs: Any) -> Counts:
    """Samples, input tokens, and tokens without padding of a micro-batch; 0 and NaN where they cannot be told."""
    try:
        kind = type(inputs)
        if kind is not dict:
            if isinstance(inputs, (list, tuple)):
                shape = inputs[0].shape
                return (shape[0], 0, NAN) if len(shape) > 3 else _several(inputs, shape)  # images as a rule
            if not hasattr(kind, "keys"):
                return _alone(inputs, inputs.shape)
        if "input_ids" not in inputs:
            return _first_count(inputs)
        shape = inputs["input_ids"].shape
        samples = shape[0]
        tokens = samples * shape[1] if len(shape) > 1 else samples
        return samples, tokens, _real(inputs.get("attention_mask"), tokens) if clock.sampled else NAN
    except Exception:  # any object may be a batch, and it is the job's, not ours, to be handled
        return NOTHING


def _several(inputs: Any, shape: Any) -> Counts:
    """Input, target and the like of a batch, or one tensor per sample, as a `collate_fn` may leave them: three or
    more of equal shape, or of one kind and different length."""
    first = inputs[0]
    if len(inputs) == 1:
        return _alone(first, shape)
    second = inputs[1]
    other: Any = getattr(second, "shape", ())
    if other == shape:
        if len(shape) == 2 and len(inputs) <= MOST_COLUMNS and str(second.dtype) in INDICES:
            return _alone(first, shape)
        if len(inputs) > 2 and _alike(first, inputs[2]):
            return len(inputs), 0, NAN
    elif shape and len(other) == len(shape) and other[0] != shape[0] and _alike(first, second):
        return len(inputs), 0, NAN
    return (shape[0] if shape else 0), 0, NAN


def _alike(first: Any, other: Any) -> bool:
    return len(getattr(other, "shape", ())) == len(first.shape) > 0 and other.dtype == first.dtype


def _alone(tensor: Any, shape: Any) -> Counts:
    """Two dimensions of what an embedding takes are sequences of tokens."""
    samples = shape[0] if shape else 0
    if len(shape) != 2 or str(tensor.dtype) not in INDICES:
        return samples, 0, NAN
    tokens = samples * shape[1]
    return samples, tokens, tokens if clock.sampled else NAN


def _first_count(inputs: Any) -> Counts:
    for value in inputs.values():
        shape = getattr(value, "shape", ())
        if shape:
            return shape[0], 0, NAN
    return NOTHING


def _real(mask: Any, tokens: int) -> float:
    if mask is None:
        return tokens  # nothing is padding where nothing is masked
    if mask.numel() > MOST_MASK:
        return NAN
    if mask.is_cpu:
        return float(mask.sum())
    if mask.is_cuda:
        clock.unpadded.append(mask.sum())
    return NAN


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
