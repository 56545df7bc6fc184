"""Post-import hooks: a function of ours runs right after a module of the job was imported.

Finder and loader have no base class: importing importlib.abc costs more than all the rest of starting up.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder

from .notice import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any


def install(hooks: Mapping[str, tuple[str, str]]) -> None:
    """Watch for the imports; idempotent.

    `hooks`: module of the job -> our module and its function, which takes the imported module.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(hooks))


class _Finder:
    def __init__(self, hooks: Mapping[str, tuple[str, str]]) -> None:
        self._hooks = dict(hooks)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self._hooks:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, name, self._hooks)  # type: ignore[assignment]
        return spec


class _Loader:
    """Stands in for the module's own loader until the module is loaded."""

    def __init__(self, loader: Any, name: str, hooks: dict[str, tuple[str, str]]) -> None:
        self._loader = loader
        self._name = name
        self._hooks = hooks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        hook = self._hooks.pop(self._name, None)  # spent only now: find_spec also asks without importing
        if hook is None:
            return
        ours, function = hook
        try:
            getattr(__import__(f"{__package__}.{ours}", fromlist=[function]), function)(module)
        except Exception as error:  # a library we do not know must still import
            failed("hooking " + module.__name__, error)
