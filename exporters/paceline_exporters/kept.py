"""What a source keeps across restarts of the agent: one small JSON document, replaced as a whole."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Kept:
    """The document `NAME.json` in the state directory. A directory that cannot be used is said once; then
    nothing outlives the agent, and everything else works."""

    def __init__(self, directory: Path | None, name: str) -> None:
        """With no directory, nothing is kept."""
        self._path = None if directory is None else directory / f"{name}.json"
        self._told = False

    def load(self) -> dict[str, Any]:
        """The document; empty where there is none or it does not parse."""
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._say("read", error)
            return {}
        return found if isinstance(found, dict) else {}

    def save(self, document: Mapping[str, Any]) -> None:
        """Replace the document: a reader, and a crash, see the old one or the new one."""
        if self._path is None:
            return
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(json.dumps(document, separators=(",", ":")).encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            self._say("write", error)

    def _say(self, verb: str, error: Exception) -> None:
        if not self._told:
            log.warning(
                "cannot %s %s (%s): its counters begin anew with the agent; "
                "set --state.directory to a directory this user can write",
                verb,
                self._path,
                error,
            )
        self._told = True
