"""Any loop on torch: backward(), gradient clipping and the optimizer, watched without a change to the job's code.

A step ends with the step of the main optimizer: the first one that steps. Other optimizers (a GAN's second one)
add to its time, so that a record is one round of the first. A main optimizer that is gone, or that 16 steps of
another one went by, makes room for that one. A step that a GradScaler leaves out, because gradients overflowed,
is a step all the same, as it is for Trainer. While a Trainer is inside train(), it says when a step ends.
"""

from __future__ import annotations

import functools
import sys
import time
import weakref
from _thread import get_ident
from typing import Any

from . import checkpoints, crash, ddp, describe, evaluation, layout
from .clock import NAN, clock
from .late import AFTER, BACKWARD, DONE, OPTIMIZER, READY
from .notice import failed

_now = time.monotonic
OTHERS = 16
"""More than a critic takes per step of its generator, fewer than anybody minds at a new phase of training."""


def patch(torch: Any) -> None:
    """Watch torch itself, once all of it is imported."""
    for watch in (
        _watch_backward,
        _watch_optimizers,
        _watch_scaler,
        _watch_clipping,
        _watch_autocast,
        evaluation.patch,
        checkpoints.patch_torch,
    ):
        _try(watch, torch)


def _try(watch: Any, torch: Any) -> None:
    try:
        watch(torch)
    except Exception as error:  # a torch that lacks one of these names is watched without it
        failed(f"watching torch ({watch.__module__}.{watch.__name__})", error)


def _watch_backward(torch: Any) -> None:
    torch.autograd.backward = watched_backward(torch.autograd.backward, torch.Tensor)


def watched_backward(original: Any, tensor: Any) -> Any:
    """torch.autograd.backward, timed; Tensor.backward and Accelerator.backward call it. `tensor`: torch.Tensor"""
    step, now, thread = clock, _now, get_ident  # nearer than a module's names, where caches are cold
    begins, ended_at = layout.BACKWARD, layout.OPTIMIZER

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **keywords: Any) -> Any:
        # Checkpointed activations call it again from within, a GPU's share of that from autograd's threads. While
        # a Trainer is inside train() nobody else trains: to ask for the thread costs 2 us.
        here = thread() if step.owner is None else step.thread
        if here != step.here and not _begins(here):
            return original(tensors, *args, **keywords)
        late, plain = step.late, step.owner is None
        if plain:
            loss, step.unscaled = tensors if step.unscaled is None else step.unscaled, None
            if type(loss) is tensor and (args[0] is None if args else "grad_tensors" not in keywords):
                step.take_loss(loss)
        began = now()
        if step.evaluating:
            evaluation.over(began)
        if step.mark is None:
            step.start = began  # no loader of torch's: the first step begins with its first backward pass
        else:
            step.forward += began - step.mark
        if late is not None:
            late.mark(BACKWARD)
        step.here = 0
        step.ready = 0.0
        step.since[begins] = began
        try:
            answer = original(tensors, *args, **keywords)
        finally:
            step.here = here
            step.mark = ended = now()
            step.backward += ended - began
        step.own += step.ready - began if step.ready else NAN
        step.micro += 1
        step.since[ended_at] = ended
        if late is not None:
            late.mark(AFTER)
        if step.norms and step.accumulates and step.micro == 1:
            step.first_norm = local_norm()
        return answer

    return backward


def _begins(thread: int) -> bool:
    """Whether training begins with this call to backward()."""
    return not clock.running and thread == clock.thread and clock.begin()


def _watch_optimizers(torch: Any) -> None:
    module = sys.modules["torch.optim.optimizer"]
    module.register_optimizer_step_pre_hook(optimizer_begins)
    module.register_optimizer_step_post_hook(optimizer_ended)
    original = module.Optimizer.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **keywords: Any) -> None:
        crash.watch()  # whoever makes an optimizer is going to train
        original(self, *args, **keywords)

    module.Optimizer.__init__ = __init__


def optimizer_begins(optimizer: Any, args: Any, keywords: Any, step: Any = clock, now: Any = _now) -> None:
    """torch's global hook before each optimizer's step. An optimizer may step others."""
    if not step.stepping or step.stepping == id(optimizer):
        step.stepping = id(optimizer)
        if step.norms and step.grad_norm is None:
            step.grad_norm = norm_of(optimizer)
        if step.late is not None:
            step.late.mark(OPTIMIZER)
        step.nested = step.forward + step.backward
        step.mark = step.began = now()


def optimizer_ended(optimizer: Any, args: Any, keywords: Any, step: Any = clock, now: Any = _now) -> None:
    """torch's global hook after each optimizer's step."""
    if step.stepping == id(optimizer):
        step.stepping = 0
        step.stepped = True
        step.mark = ended = now()
        # A closure runs forward and backward within.
        step.optimizer += ended - step.began - (step.forward + step.backward - step.nested)
        if step.late is not None:
            step.late.mark(DONE)
        if step.automatic and step.running and is_main(optimizer):
            _end(ended, optimizer)


_others: dict[int, int] = {}
"""Steps of other optimizers by id since the main one's last."""
_scaled: list[bool] = []
"""Not empty where a GradScaler scales the gradients."""


def is_main(optimizer: Any) -> bool:
    """Whether a step of this optimizer ends a step of the job."""
    main = clock.main()
    if main is not optimizer:
        waited = _others[id(optimizer)] = _others.get(id(optimizer), 0) + 1
        if main is not None and waited < OTHERS:
            return False
        clock.main = weakref.ref(optimizer)
    if _others:
        _others.clear()
    return True


def _end(ended: float, optimizer: Any) -> None:
    rate = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
    if type(rate) is not float and type(rate) is not int:
        rate = NAN  # a tensor may be on a GPU: not worth a wait
    clock.end(ended, clock.number + 1, rate)
    if clock.late is not None:
        clock.late.mark(READY)


def _watch_scaler(torch: Any) -> None:
    cls = torch.amp.GradScaler
    scale, step = cls.scale, cls.step

    @functools.wraps(scale)
    def watched_scale(self: Any, outputs: Any) -> Any:
        scaled = scale(self, outputs)
        if scaled is not outputs:
            clock.unscaled = outputs
            _scaled[:] = [True]
        return scaled

    @functools.wraps(step)
    def watched_step(self: Any, optimizer: Any, *args: Any, **keywords: Any) -> Any:
        clock.stepped = False
        answer = step(self, optimizer, *args, **keywords)
        if not clock.stepped and clock.running:
            clock.skipped = 1.0
            if clock.automatic and is_main(optimizer):
                _end(_now(), optimizer)
        return answer

    cls.scale, cls.step = watched_scale, watched_step


def _watch_clipping(torch: Any) -> None:
    watched = watched_clipping(torch.nn.utils.clip_grad_norm_)
    torch.nn.utils.clip_grad_norm_ = torch.nn.utils.clip_grad.clip_grad_norm_ = watched


def watched_clipping(original: Any) -> Any:
    """torch.nn.utils.clip_grad_norm_, timed; what it returns is the norm before clipping."""
    step, now = clock, _now

    @functools.wraps(original)
    def clip_grad_norm_(*args: Any, **keywords: Any) -> Any:
        if not step.micro:  # no gradients of this step's
            return original(*args, **keywords)
        began = now()
        step.grad_norm = norm = original(*args, **keywords)
        step.mark = ended = now()
        step.clip += ended - began
        return norm

    return clip_grad_norm_


def _watch_autocast(torch: Any) -> None:
    """The first dtype the job computes in; asked once."""
    cls = torch.amp.autocast_mode.autocast
    original = cls.__enter__

    @functools.wraps(original)
    def __enter__(self: Any) -> Any:
        if self._enabled and not describe.autocast:
            describe.autocast.append(str(self.fast_dtype))
            cls.__enter__ = original
        return original(self)

    cls.__enter__ = __enter__


def norm_of(optimizer: Any) -> Any:
    """2-norm of all gradients an optimizer holds, as a tensor; None where there are none, or they are scaled."""
    try:
        torch = sys.modules["torch"]
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients or _scaled or type(gradients[0]) is not torch.Tensor:
            return None
        with torch.no_grad():
            return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    except Exception as error:  # sparse, sharded or on several devices
        failed("taking the gradients' norm", error)
        return None


def local_norm() -> Any:
    """Norm of this rank's own gradients; None where DDP has reduced them already."""
    model, optimizer = ddp.latest(), clock.main()
    if optimizer is None or (model is not None and model.require_backward_grad_sync):
        return None
    return norm_of(optimizer)
