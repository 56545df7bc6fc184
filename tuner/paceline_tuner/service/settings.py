"""What the service can be told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Settings of one tuner, checked at birth."""

    database: Path
    """SQLite file; it and `<database>.lock` are made when missing."""
    host: str = "127.0.0.1"
    port: int = 19471
    """TCP port; 0 takes a free one."""
    proposed_seconds: float = 86400.0
    """Seconds a proposal may wait in a scheduler's queue before its run counts as lost."""
    running_seconds: float = 120.0
    """Seconds without window or heartbeat after which a run counts as lost."""
    ending_seconds: float = 5.0
    """Seconds that an ended run waits for windows that are still under way."""
    sweep_seconds: float = 1.0
    """Seconds between two looks at the leases."""
    ask_seconds: float = 10.0
    """Seconds an ask waits for a fresh configuration."""
    body_bytes: int = 16 * 1024 * 1024
    """Largest request body, bytes."""

    def __post_init__(self) -> None:
        """Raises ValueError for a setting that cannot work."""
        for name in ("proposed_seconds", "running_seconds", "ending_seconds", "sweep_seconds", "ask_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected more than 0 seconds, got {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: expected 0 to 65535, got {self.port}")
