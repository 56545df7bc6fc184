"""What aiohttp has to say of requests, kept to a line now and then: anyone may send what is no HTTP."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aiohttp.http_exceptions import HttpProcessingError

log = logging.getLogger(__name__)

QUIET_SECONDS = 30.0
"""After a line, nothing of its kind is said for so long."""


class Complaints(logging.Filter):
    """Counts requests that are no HTTP; says of these, and of handlers that failed, a line at most per time."""

    def __init__(self, malformed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`malformed` is called for each request that is no HTTP."""
        super().__init__()
        self._malformed = malformed
        self._clock = clock
        self._quiet_until = dict.fromkeys((True, False), 0.0)

    def logger(self) -> logging.Logger:
        """For aiohttp; of every level, as it says some of the requests in question at the lowest."""
        logger = logging.Logger(__name__, logging.DEBUG)
        logger.parent = log
        logger.addFilter(self)
        return logger

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown; of a request that is no HTTP a shorter line is."""
        error = record.exc_info[1] if record.exc_info else None
        is_malformed = isinstance(error, HttpProcessingError)
        if is_malformed:
            self._malformed()
        if self._clock() < self._quiet_until[is_malformed] or not log.isEnabledFor(record.levelno):
            return False
        self._quiet_until[is_malformed] = self._clock() + QUIET_SECONDS
        if is_malformed:
            args = record.args if isinstance(record.args, tuple) else ()
            log.warning("a request of %s is no HTTP: %s", *(args or ("someone",)), _first_line(error))
        return not is_malformed


def _first_line(error: BaseException | None) -> str:
    """Of the parser's text, which shows the bytes in question below it."""
    return str(getattr(error, "message", error)).partition("\n")[0].rstrip(" :")
