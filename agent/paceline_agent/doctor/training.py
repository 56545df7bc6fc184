"""The training side: do our hooks load in the Python that training would use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from ..supervise.launch import environment
from .finding import Finding
from .visit import Visit

SECONDS = 3.0
OLDEST = (3, 9)
"""What runs in the training process is written for it."""
PROGRAM = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
def known(name):
    try: return version(name)
    except PackageNotFoundError: return None
print(json.dumps({"python": sys.version_info[:3], "attached": "_paceline_attach" in sys.modules,
                  "torch": known("torch"), "transformers": known("transformers")}))
"""


def examine(visit: Visit) -> Iterator[Finding]:
    """Start that Python as `paceline run` would, with nothing to train."""
    python = shutil.which("python") or shutil.which("python3") or sys.executable
    variables = environment(os.environ, None, "doctor", str(visit.world.rings))
    try:
        done = subprocess.run(
            [python, "-c", PROGRAM], env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        yield _judge(python, json.loads(done.stdout), done.stderr)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        fix = "put the Python that trains first on PATH"
        yield Finding("training", "limited", f"{python} does not start", str(error) or "no output", fix)


def _judge(python: str, told: dict[str, object], errors: str) -> Finding:
    version = told["python"]
    assert isinstance(version, list)
    name = f"{python}, Python {'.'.join(map(str, version))}"
    if not told["attached"]:
        if tuple(version) < OLDEST:
            why, fix = "the hooks need Python 3.9 or newer", "train with a newer Python"
        else:
            why = errors.strip().splitlines()[-1] if errors.strip() else "its start-up ignores PYTHONPATH"
            fix = "start training without -I, -E, -S, and without a wrapper that clears PYTHONPATH"
        return Finding("training", "limited", f"{name}: hooks do not load", why, fix)
    if told["torch"] is None:
        return Finding("training", "absent", f"{name}: hooks load; no torch, so training is elsewhere")
    transformers = f"transformers {told['transformers']}" if told["transformers"] else "no transformers"
    return Finding("training", "ok", f"{name}: hooks load; torch {told['torch']}, {transformers}")
