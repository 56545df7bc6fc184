"""The rings of this node as `/v1/rings` lists them, and the broom for those that nobody holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline_exporters.rings import RingDirectory, RingReader

log = logging.getLogger(__name__)

CACHE_SECONDS = 1.0
SWEEP_SECONDS = 60.0


class RingList:
    """Looks when asked, at most once a second."""

    def __init__(self, directory: Path) -> None:
        self.removed = 0
        """Rings swept away."""
        self._directory = RingDirectory(directory)
        self._lock = asyncio.Lock()
        self._listed: list[dict[str, Any]] = []
        self._listed_at = -CACHE_SECONDS

    async def listing(self) -> list[dict[str, Any]]:
        """One object per ring whose run has a name."""
        async with self._lock:
            if time.monotonic() - self._listed_at >= CACHE_SECONDS:
                self._listed = await asyncio.to_thread(self._list)
                self._listed_at = time.monotonic()
            return self._listed

    async def sweep(self, retention_seconds: float) -> None:
        """Remove abandoned rings, for ever."""
        while True:
            async with self._lock:
                try:
                    self.removed += await asyncio.to_thread(self._directory.sweep, retention_seconds)
                except OSError as error:
                    log.warning("cannot remove abandoned rings: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    def close(self) -> None:
        """Close the rings."""
        self._directory.close()

    def _list(self) -> list[dict[str, Any]]:
        listed = []
        for reader in self._directory.scan().rings.values():
            try:
                header = reader.header()
                if header is not None and isinstance(header.data.get("run_id"), str):
                    listed.append(_entry(reader, header.data))
            except (OSError, RecursionError):  # one hostile or vanishing file costs itself only
                continue
        return listed


def _entry(reader: RingReader, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ring": reader.uuid,
        "run_id": data["run_id"],
        **{key: data.get(key) for key in ("rank", "world_size", "attempt")},
        "alive": reader.alive(),
        "next_record": reader.cursors()[0],
    }
