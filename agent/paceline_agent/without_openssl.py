"""OpenSSL is left out of an agent that encrypts nothing: it would be an eighth of the agent's memory."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

_USERS = ("asyncio", "aiohttp.web")
"""They do without it where it cannot be imported, as in a Python that was built without it."""


def leave_out_openssl() -> None:
    """Load asyncio and aiohttp without it: 7 MiB of resident memory, 2 of them for certificates that aiohttp's
    client reads as soon as it is imported. Without effect where OpenSSL is loaded already."""
    modules = ["ssl"]
    if find_spec("_md5") is not None:  # hashlib has hashes of its own: not so in Red Hat's Python
        modules.append("_hashlib")
    # None says that it cannot be imported.
    blocked = [name for name in modules if sys.modules.setdefault(name, None) is None]  # type: ignore[arg-type]
    try:
        for user in _USERS:
            import_module(user)
    finally:
        for name in blocked:
            del sys.modules[name]  # who imports it from here on gets it
