"""The `paceline` command ends in good order, also where it is interrupted or its output is not taken.

What takes long to import is imported within, where an interruption is expected.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 128 + signal.SIGINT
DESERTED = 128 + signal.SIGPIPE
"""Exit statuses, as a shell tells them of a command that the signal ended."""
STDOUT = 1
"""Its descriptor."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit status, 1 after an error of the system, which it says in a line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            from .subcommands import run

            return run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # at the interpreter's exit it is too late to say that it failed
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a thread may be waited for yet: the next one ends that too
        return INTERRUPTED
    except OSError as error:
        return _failed(" ".join(["paceline", *arguments[:1]]), error)


def _failed(name: str, error: OSError) -> int:
    deserted = isinstance(error, BrokenPipeError) and _deserted()
    if not deserted and sys.stderr is not None:
        sys.stderr.write(f"{name}: {error}\n")
    # What is still buffered can be written nowhere, and the interpreter will try once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return DESERTED if deserted else 1


def _deserted() -> bool:
    """Whether nobody reads standard output any more: other pipes may break, too."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    return bool(poll.poll(0))
