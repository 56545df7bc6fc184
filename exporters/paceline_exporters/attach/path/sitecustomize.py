"""Found first on PYTHONPATH by every Python that `paceline run` starts; attaches, then hands over.

The directory of this file holds nothing else, so that nothing of Paceline becomes importable by the job. A
`sitecustomize` of the user's or the image's own is run after ours, as if we were not there.

Only modules that every interpreter has loaded anyway: importlib.util and importlib.abc alone take 11 ms.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from os import path


def _load(spec: ModuleSpec) -> None:
    module = type(sys)(spec.name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    if spec.submodule_search_locations is not None:
        module.__path__, module.__package__ = spec.submodule_search_locations, spec.name
    sys.modules[spec.name] = module
    if spec.loader is not None:
        spec.loader.exec_module(module)


def _attach() -> None:
    package = path.dirname(path.dirname(path.abspath(__file__)))
    origin = path.join(package, "__init__.py")
    spec = ModuleSpec(
        "_paceline_attach", SourceFileLoader("_paceline_attach", origin), origin=origin, is_package=True
    )
    spec.submodule_search_locations = [package]
    _load(spec)
    __import__("_paceline_attach.boot", fromlist=["boot"]).boot()


def _hand_over() -> None:
    here = path.dirname(path.abspath(__file__))
    elsewhere = [entry for entry in sys.path if path.abspath(entry or ".") != here]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        _load(spec)


try:
    _attach()
except Exception as error:  # whatever is wrong with us, the job's Python must start
    if sys.stderr is not None:
        sys.stderr.write(f"paceline: not attached: {type(error).__name__}: {error}\n")
_hand_over()
