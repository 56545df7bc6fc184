"""The modules that train: those that were asked for their parameters before the first step ended.

Whoever makes an optimizer, freezes a base or wraps a model asks. `Module.named_parameters`, through which all
asking goes, is watched until the first step's end, or until something is compiled: a compiler must find nothing
of ours. An optimizer alone tells less: it lacks the frozen base of an adapter, and what another optimizer holds.

To look for modules among `gc.get_objects()` costs 70 ms; a global forward hook changes what is compiled.
"""

from __future__ import annotations

import functools
import sys
import weakref
from typing import Any

from .notice import failed

MOST = 16384
"""Modules that are remembered: a loop over all of a model's modules may ask each."""

_asked: dict[int, Any] = {}
"""Weak references by id, in the order of the first asking."""
_original: list[Any] = []
"""While it is watched: Module, its `named_parameters`, and ours."""
_optimizers = [0]
"""How many were made."""


def patch(module: Any) -> None:
    """Watch torch.nn.modules.module."""
    _watch(module.Module)


def optimizer_made() -> None:
    """An optimizer is being made, and no step has ended yet: as a rule it is now that a module is asked."""
    _optimizers[0] += 1
    module = sys.modules.get("torch.nn.modules.module")
    if module is not None and not _original:
        _watch(module.Module)


def _watch(cls: Any) -> None:
    original = cls.named_parameters

    @functools.wraps(original)
    def named_parameters(self: Any, *args: Any, **keywords: Any) -> Any:
        try:
            if len(_asked) < MOST:
                _asked[id(self)] = weakref.ref(self)
        except TypeError as error:  # whatever is asked through a class that is not its own
            failed("remembering a module", error)
        return original(self, *args, **keywords)

    cls.named_parameters = named_parameters
    _original[:] = [cls, original, named_parameters]


def leave() -> None:
    """Watch no longer. What the job put in place of ours meanwhile stays."""
    if _original:
        cls, original, ours = _original
        _original.clear()
        if cls.named_parameters is ours:
            cls.named_parameters = original


def forget() -> None:
    """Watch no longer, and forget who was asked."""
    leave()
    _asked.clear()
    _optimizers[0] = 0


def parameters(optimizer: Any) -> list[Any]:
    """Those of the modules that train, each once; [] where the modules are not known. Forgets who was asked.

    `optimizer`: the main one. Without modules it is taken to hold them all where it is the only one.
    """
    groups = [] if optimizer is None else optimizer.param_groups
    held = {id(parameter): parameter for group in groups for parameter in group["params"]}
    modules = [module for module in (known() for known in list(_asked.values())) if module is not None]
    alone = _optimizers[0] <= 1
    forget()
    found = _of(modules, held)
    if not held or not held.keys().isdisjoint(found):
        return list(found.values())
    return list(held.values()) if alone else []


def _of(modules: list[Any], held: dict[int, Any]) -> dict[int, Any]:
    """A root that is in eval mode and holds nothing of the optimizer's (a teacher, an average) does not train."""
    children = {id(child) for module in modules for child in module.children()}
    found: dict[int, Any] = {}
    for root in modules:
        if id(root) not in children:
            own = {id(parameter): parameter for parameter in root.parameters()}
            if root.training or not own.keys().isdisjoint(held):
                found.update(own)
    return found
