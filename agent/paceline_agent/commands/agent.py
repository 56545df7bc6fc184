"""Serve this node's metrics and report runs to the tuner.

Listens on loopback unless told otherwise; needs no root, no GPU and no RDMA.
"""

from __future__ import annotations

import argparse
import logging
import sys

from ..settings import SettingsError
from ..without_openssl import leave_out_openssl
from .flags import add_shared, settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_shared(parser)
    parser.add_argument("--once", action="store_true", help="print one scrape and end")


def run(args: argparse.Namespace) -> int:
    """The exit status: 0 after a stop that was asked for, 1 when the agent cannot run."""
    logging.basicConfig(level=args.level.upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        told = settings(args)
    except SettingsError as error:
        sys.stderr.write(f"paceline agent: {error}\n")
        return 1
    if not told.needs_tls:
        leave_out_openssl()
    from .. import serving  # after what is left out

    return serving.run(told, once=args.once)
