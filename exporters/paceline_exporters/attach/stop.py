"""The exception with which we end a script on purpose; everything else of ours leaves training alone."""

from __future__ import annotations


class Rejected(SystemExit):
    """The proposal cannot be run as it stands. A SystemExit, so that `except Exception` does not hide it."""

    STATUS = 78
    """EX_CONFIG of sysexits.h."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(self.STATUS)
        self.reason_code = code
        """unknown_name, not_effective, ranks_differ, unsafe or unreadable."""
        self.reason = reason
        self.told = False
        """Whether it was recorded: it may pass several of our wrappers on its way out."""

    def __str__(self) -> str:
        return self.reason
