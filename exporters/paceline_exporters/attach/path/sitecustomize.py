"""Found first on PYTHONPATH by every Python that `paceline run` starts; attaches, then hands over.

The directory of this file holds nothing else, so that nothing of Paceline becomes importable by the job. A
`sitecustomize` of the user's or the image's own is run after ours, as if we were not there.
"""

from __future__ import annotations

import sys


def _attach() -> None:
    import importlib.util
    import os

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location(
        "_paceline_attach", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package in {package}")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    importlib.import_module("_paceline_attach.boot").boot()


def _hand_over() -> None:
    import importlib.machinery
    import importlib.util
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


try:
    _attach()
except Exception as error:  # whatever is wrong with us, the job's Python must start
    sys.stderr.write(f"paceline: not attached: {type(error).__name__}: {error}\n")
_hand_over()
