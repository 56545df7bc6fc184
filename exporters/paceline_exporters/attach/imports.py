"""Post-import hooks: a function of ours runs right after a module of the job was imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from .notice import failed

Hooks = Mapping[str, tuple[str, str]]
"""Module of the job -> our module and its function, which takes the imported module."""


def install(hooks: Hooks) -> None:
    """Watch for the imports; idempotent."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(hooks))


class _Finder(MetaPathFinder):
    def __init__(self, hooks: Hooks) -> None:
        self._hooks = dict(hooks)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        hook = self._hooks.pop(name, None)
        if hook is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, hook)
        return spec


class _Loader(Loader):
    """Stands in for the module's own loader until the module is loaded."""

    def __init__(self, loader: Any, hook: tuple[str, str]) -> None:
        self._loader = loader
        self._hook = hook

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        ours, function = self._hook
        try:
            getattr(importlib.import_module("." + ours, __package__), function)(module)
        except Exception as error:  # a library we do not know must still import
            failed("hooking " + module.__name__, error)
