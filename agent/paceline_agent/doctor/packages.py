"""The Python packages that the agent needs: what its extra asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from .finding import Finding
from .visit import Visit

DISTRIBUTION, EXTRA = "paceline", "agent"


def examine(_visit: Visit) -> Iterator[Finding]:
    """By the distribution's own metadata; nothing is said of what is there."""
    missing = [name for name in needed() if not _installed(name)]
    if missing:
        why = f"not installed for {sys.executable}: {', '.join(missing)}"
        yield Finding(
            "packages", "broken", "the agent does not start", why, f"pip install '{DISTRIBUTION}[{EXTRA}]'"
        )


def needed() -> list[str]:
    """Names of the distributions (PEP 508, `Requires-Dist` of the core metadata)."""
    wanted = re.compile(rf"""extra\s*==\s*['"]{EXTRA}['"]""")
    return [
        re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requires(DISTRIBUTION) or () if wanted.search(line)
    ]


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
