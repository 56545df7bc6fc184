"""Run the tuner service: studies, proposals and results in one SQLite file, over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from paceline_tuner.service.errors import StartError
from paceline_tuner.service.server import main
from paceline_tuner.service.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `paceline serve`."""
    parser.add_argument(
        "--web.listen-address",
        dest="address",
        default="127.0.0.1:19471",
        help="host:port; port 0 takes a free one",
    )
    parser.add_argument(
        "--database", type=Path, default=Path("paceline.sqlite"), help="SQLite file, made when missing"
    )
    for state, text in (
        ("proposed", "a proposal may wait in a queue"),
        ("running", "a run may be silent"),
        ("ending", "an ended run waits for its last windows"),
    ):
        default = getattr(Settings, f"{state}_seconds")
        parser.add_argument(f"--lease.{state}", type=float, default=default, help=f"seconds that {text}")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return asyncio.run(main(_settings(args), _announce))
    except (StartError, ValueError) as error:
        sys.stderr.write(f"paceline serve: {error}\n")
        return 1


def _settings(args: argparse.Namespace) -> Settings:
    host, colon, port = str(args.address).rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(
            f"--web.listen-address: expected host:port such as 127.0.0.1:19471, got {args.address!r}"
        )
    leases = {f"{state}_seconds": getattr(args, f"lease.{state}") for state in ("proposed", "running", "ending")}
    return Settings(database=args.database, host=host.strip("[]") or "0.0.0.0", port=int(port), **leases)


def _announce(url: str) -> None:
    sys.stdout.write(f"paceline serve: listening on {url}\n")
    sys.stdout.flush()
