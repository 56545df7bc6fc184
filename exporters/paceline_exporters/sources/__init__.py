"""Sources: one subject, one file, one method. A new module here with `create(world)` is a new source."""

from __future__ import annotations

import importlib
import pkgutil

from ..metrics import check_owners
from .contract import Source, World


def discover(world: World) -> list[Source]:
    """One source from each module here that has `create`. Raises FamilyError when two claim one family."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    sources: list[Source] = [module.create(world) for module in modules if hasattr(module, "create")]
    check_owners((source.name, source.families) for source in sources)
    return sources
