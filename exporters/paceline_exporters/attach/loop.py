"""Any loop on torch: backward() and the optimizer, watched without a change to the job's code.

A step ends with the step of the main optimizer: the first one that steps. Other optimizers (a GAN's second one)
add to its time, so that a record is one round of the first. A main optimizer that is gone, or that many more
steps of others go by than ever before, makes room for another. An optimizer that steps within backward() ends the
step with backward(). A step that a GradScaler leaves out, since gradients overflowed, is one all the same, as for
Trainer. While a Trainer is inside train(), it says when a step ends.
"""

from __future__ import annotations

import functools
import sys
import time
import weakref
from _thread import get_ident
from typing import Any

from . import checkpoints, crash, ddp, describe, evaluation, forwards, layout
from .clock import INSIDE, NAN, clock
from .late import AFTER, BACKWARD, DONE, OPTIMIZER, READY
from .notice import failed

_now = time.monotonic
OTHERS = 16
"""Of a main optimizer whose turns are not known yet: more than a critic takes per step of its generator."""
MORE_OTHERS = 2
"""Steps of others beyond twice as many as there ever were between two steps of the main one: that one's training
is over, and the next model's goes on."""


def patch(torch: Any) -> None:
    """Watch torch itself, once all of it is imported."""
    for watch in (
        _watch_backward,
        _watch_optimizers,
        _watch_scaler,
        _watch_autocast,
        evaluation.patch,
        forwards.patch,
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
        if here != step.here and (step.running or not step.begin()):
            return original(tensors, *args, **keywords)
        late = step.late
        if step.owner is None:
            _take_loss(tensors, args, keywords, tensor)
        began = now()
        if step.evaluating:
            evaluation.over(began)
        if step.start is None:  # no loader of torch's: the first step begins with its first backward pass,
            step.start = step.mark = step.mark or began  # or with the optimizer's step that calls it
        step.forward += began - step.mark  # type: ignore[operator]
        if late is not None:
            late.mark(BACKWARD)
        step.here = INSIDE
        step.ready = 0.0
        step.since[begins] = began
        try:
            answer = original(tensors, *args, **keywords)
        except BaseException as error:
            _raised(error, here, began)
            raise
        step.here = here
        step.mark = ended = now()
        step.backward += ended - began
        step.own += step.ready - began if step.ready else NAN
        step.micro += 1
        step.since[ended_at] = ended
        if late is not None:
            late.mark(AFTER)
        if step.norms or step.fused:
            _after(ended)
        return answer

    return backward


def _take_loss(loss: Any, args: Any, keywords: Any, tensor: Any) -> None:
    step = clock
    if step.stepping:  # a closure: it may run several times in a step, of which the last counts
        step.loss, step.losses = None, []
    if step.unscaled is not None:
        loss, step.unscaled = step.unscaled, None
    if type(loss) is tensor and (args[0] is None if args else "grad_tensors" not in keywords):
        step.take_loss(loss)


def _after(ended: float) -> None:
    """What few backward passes need."""
    if clock.norms and clock.accumulates and clock.micro == 1:
        clock.first_norm = local_norm()
    if clock.fused:
        _end_within(ended)


def _raised(error: BaseException, here: int, began: float) -> None:
    """backward() did not come to its end; the job may go on all the same."""
    clock.here = here
    clock.mark = ended = _now()
    clock.backward += ended - began
    crash.noticed(error)


def _end_within(ended: float) -> None:
    """backward() is over, and optimizers stepped within: what they took is theirs."""
    clock.backward -= clock.fused
    optimizer = _within.pop()
    _within.clear()
    if clock.automatic and clock.running:
        clock.main = weakref.ref(optimizer)
        _end(ended, optimizer)


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
    if not step.stepping or step.stepping == id(optimizer) or not _steps_now(step.stepping):
        step.stepping = id(optimizer)
        if step.norms and step.grad_norm is None and len(args) < 2 and not keywords.get("closure"):
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
        nested = step.forward + step.backward - step.nested
        step.optimizer += ended - step.began - nested
        if step.late is not None:
            step.late.mark(DONE)
        if nested:
            _ran_closure(optimizer)
        if step.here == INSIDE:
            step.fused += ended - step.began
            _within.append(optimizer)
        elif step.automatic and (step.running or _begins_without_backward(optimizer)) and is_main(optimizer):
            _end(ended, optimizer)


def _steps_now(which: int) -> bool:
    """Whether an optimizer's step is under way in this thread: one that raised never came to its end."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and id(frame.f_locals.get("self")) == which:
            return True
        frame = frame.f_back
    return False


def _ran_closure(optimizer: Any) -> None:
    """Gradients came within the optimizer's step: their norm can be taken only now."""
    clock.closure = True
    if clock.norms and clock.grad_norm is None:
        clock.grad_norm = norm_of(optimizer)


def _begins_without_backward(optimizer: Any) -> bool:
    """Whether training begins with this step: gradients may come from torch.autograd.grad."""
    if clock.off or all(p.grad is None for group in optimizer.param_groups for p in group["params"]):
        return False
    return clock.begin()


_within: list[Any] = []
"""Optimizers that stepped within the backward() that runs now."""
_scaled: list[bool] = []
"""Not empty where a GradScaler scales the gradients."""


def is_main(optimizer: Any) -> bool:
    """Whether a step of this optimizer ends a step of the job."""
    main = clock.main()
    if main is not optimizer:
        clock.others += 1
        known = clock.main_steps > 1
        if main is not None and clock.others <= (2 * clock.most_others + MORE_OTHERS if known else OTHERS - 1):
            return False
        clock.main = weakref.ref(optimizer)
        clock.main_steps = clock.most_others = 0
    elif clock.others > clock.most_others:
        clock.most_others = clock.others
    clock.main_steps += 1
    return True


def _end(ended: float, optimizer: Any) -> None:
    rate = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
    if type(rate) is not float and type(rate) is not int:
        rate = NAN  # a tensor may be on a GPU: not worth a wait
    clock.end(ended, clock.number + 1, rate)
    clock.others = 0
    if clock.late is not None:
        clock.late.mark(READY)


def _watch_scaler(torch: Any) -> None:
    cls = torch.amp.GradScaler
    scale, step = cls.scale, cls.step

    @functools.wraps(scale)
    def watched_scale(self: Any, outputs: Any) -> Any:
        scaled = scale(self, outputs)
        if scaled is not outputs:
            if clock.owner is None and not clock.off:
                clock.unscaled = outputs.detach()
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
