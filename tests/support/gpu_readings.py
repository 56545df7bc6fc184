"""What the agent and what nvidia-smi say of the GPUs of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

Scrape = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Sample name -> sorted labels -> value."""


def parsed(text: str) -> Scrape:
    """A scrape by name and labels."""
    found: Scrape = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found


def once(tmp_path: Path) -> Scrape:
    """One scrape of everything, without a server."""
    words = ["agent", "--once", f"--rings.directory={tmp_path}/rings", f"--state.directory={tmp_path}/state"]
    command = [sys.executable, "-m", "paceline_exporters", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return parsed(done.stdout)


def asked(*fields: str) -> dict[str, dict[str, str]]:
    """What nvidia-smi says of these fields, by UUID."""
    query = ",".join(("uuid", *fields))
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = ([cell.strip() for cell in line.split(",")] for line in lines)
    return {row[0]: dict(zip(fields, row[1:], strict=True)) for row in rows}
