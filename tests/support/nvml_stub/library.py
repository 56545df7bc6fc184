"""Builds the library with the machine's C compiler."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SONAME = "libnvidia-ml.so.1"
HERE = Path(__file__).parent
COMPILER = "gcc"
FLAGS = ("-shared", "-fPIC", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden")


class NoCompiler(Exception):
    """There is no C compiler: install gcc and libc6-dev."""


def build(directory: Path, absent: Sequence[str] = ()) -> Path:
    """The library, built once per content below `directory`; it lacks the functions `absent`, as that of an older
    driver does. Raises NoCompiler, or RuntimeError with the compiler's words."""
    sources = sorted(HERE.glob("*.c"))
    content = b"".join(path.read_bytes() for path in [*sources, *sorted(HERE.glob("*.[hd]*"))])
    digest = hashlib.sha256(content + repr((FLAGS, sorted(absent))).encode()).hexdigest()[:16]
    library = directory / f"nvml-{digest}" / SONAME
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        _compile(sources, absent, library)
    return library


def _compile(sources: Sequence[Path], absent: Sequence[str], library: Path) -> None:
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise NoCompiler(f"no {COMPILER} here to build {SONAME} with: install gcc and libc6-dev")
    # The linker hides a function that is local: dlsym does not find it.
    exported = library.with_suffix(f".map.{os.getpid()}")
    exported.write_text("{ global: nvml*; local: " + "".join(f"{name}; " for name in absent) + "*; };\n")
    fresh = library.with_suffix(f".new.{os.getpid()}")
    command = [compiler, *FLAGS, f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={exported}"]
    done = subprocess.run([*command, *sources, "-o", fresh, "-lm", "-lpthread"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{SONAME} does not build:\n{done.stderr}")
    fresh.replace(library)
