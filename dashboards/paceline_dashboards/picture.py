"""A picture of the Job dashboard, drawn by ourselves from what its queries say of a real run.

    python -m paceline_dashboards.picture --prometheus http://127.0.0.1:9090 --output docs/job-dashboard.png

Grafana draws its own; this one is for the README, and needs Chromium.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from .drawing import Graph, Line, curves, figures, legend
from .prometheus import Prometheus
from .reading import filled

DASHBOARD = Path(__file__).parents[1] / "job.json"
ROWS = ("Now", "Steps", "Training", "Nodes of the run")
CAPTION = "rendered by Paceline from the Job dashboard's queries; times are UTC"
CELL, COLUMN, GAP = 27, 66, 6
"""Pixels of a grid cell's height and width, and between panels."""
HEAD = 64
POINTS = 150
"""Values in a curve."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STYLE = f"""
body {{ margin: 0; width: {24 * COLUMN + GAP}px; background: #eef0f3; color: #23272e; font: 13px sans-serif; }}
header {{ height: {HEAD}px; padding: 0 {2 * GAP}px; display: flex; align-items: center; gap: 16px; }}
header h1 {{ font-size: 21px; margin: 0; }} header em {{ margin-left: auto; color: #5b6470; }}
section, h2 {{ position: absolute; box-sizing: border-box; margin: 0; }}
section {{ background: #fff; border: 1px solid #d9dde3; border-radius: 4px; padding: 6px 8px; overflow: hidden; }}
h2 {{ font-size: 14px; padding: 5px {GAP}px; color: #5b6470; }} h3 {{ font-size: 13px; margin: 0 0 2px; }}
svg {{ display: block; }} svg text {{ font-size: 11px; fill: #5b6470; }} .grid {{ stroke: #e6e9ed; }}
.legend {{ font-size: 12px; line-height: 15px; }}
.legend span {{ margin-right: 12px; white-space: nowrap; display: inline-block; }}
.legend i {{ display: inline-block; width: 14px; height: 4px; margin: 0 5px 3px 0; }}
.figures {{ display: flex; justify-content: space-around; align-items: center; height: 70%; font-size: 27px; }}
.figures small {{ font-size: 15px; color: #5b6470; margin-right: 9px; }}
.unknown {{ text-align: center; color: #8b939e; font-size: 22px; margin-top: 9%; }}
"""


@dataclass(frozen=True)
class Shot:
    """What is to be seen."""

    prometheus: Prometheus
    run_id: str
    start: float
    end: float
    """Unix time."""

    @property
    def step(self) -> float:
        """Whole seconds between two values."""
        return max(1.0, round((self.end - self.start) / POINTS))

    def lines(self, target: Mapping[str, Any], instant: bool) -> list[Line]:
        """What one query of a panel says; of an instant one only what holds at the end."""
        values = {"run_id": self.run_id, "rank": ".*", "__rate_interval": f"{max(10, round(4 * self.step))}s"}
        expression = filled(target["expr"], values)
        start = self.end if instant else self.end - self.step * ((self.end - self.start) // self.step)
        found = self.prometheus.range(expression, start, self.end, self.step)
        named = (Line(_named(target["legendFormat"], series.labels), series) for series in found)
        return sorted(named, key=lambda line: line.name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the picture; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--output", required=True, type=Path, help="PNG file")
    parser.add_argument("--run", help="run_id; default: the run with the newest step")
    parser.add_argument(
        "--end", type=float, default=None, metavar="UNIX", help="end of the picture; default: now"
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="how far the picture goes back")
    chosen = parser.parse_args(arguments)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.stderr.write("picture: no Chromium here: install the package chromium\n")
        return 1
    prometheus, end = Prometheus(chosen.prometheus), chosen.end or time.time()
    run = chosen.run or _newest(prometheus, end)
    if run is None:
        sys.stderr.write("picture: Prometheus knows no run: start one beside an agent that it scrapes\n")
        return 1
    html, height = page(Shot(prometheus, run, end - chosen.seconds, end))
    _screenshot(browser, html, height, chosen.output.absolute())
    return 0


def page(shot: Shot) -> tuple[str, int]:
    """The whole page, and its height in pixels."""
    cells = list(_cells(json.loads(DASHBOARD.read_text())))
    bottom = max(y + height for _, y, height in cells)
    parts = [_place(panel, y) + _content(panel, shot) for panel, y, _ in cells]
    head = f"<header><h1>Paceline: Job</h1><span>{escape(shot.run_id)}</span><em>{escape(CAPTION)}</em></header>"
    html = f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{head}{"".join(parts)}'
    return html, HEAD + bottom * CELL + GAP


def _newest(prometheus: Prometheus, end: float) -> str | None:
    found = prometheus.range("topk(1, max by (run_id) (paceline_step_timestamp_seconds))", end, end, 1.0)
    return found[0].labels["run_id"] if found else None


def _cells(dashboard: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int, int]]:
    """Panels of the chosen rows, each with its place from the top and its height, closed up."""
    skipped, inside, begun = 0, True, 0
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        if panel["type"] == "row":
            skipped += 0 if inside else at["y"] - begun
            inside, begun = panel["title"] in ROWS, at["y"]
        if inside:
            yield panel, at["y"] - skipped, at["h"]


def _place(panel: Mapping[str, Any], y: int) -> str:
    at = panel["gridPos"]
    style = (
        f"left:{at['x'] * COLUMN + GAP}px;top:{HEAD + y * CELL}px;"
        f"width:{at['w'] * COLUMN - GAP}px;height:{at['h'] * CELL - GAP}px"
    )
    return f'<h2 style="{style}">' if panel["type"] == "row" else f'<section style="{style}">'


def _content(panel: Mapping[str, Any], shot: Shot) -> str:
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f"{title}</h2>"
    instant, unit = panel["type"] == "stat", panel["fieldConfig"]["defaults"]["unit"]
    lines = [line for target in panel["targets"] for line in shot.lines(target, instant)]
    return f"<h3>{title}</h3>{figures(lines, unit) if instant else _graph(panel, lines, unit, shot)}</section>"


def _graph(panel: Mapping[str, Any], lines: Sequence[Line], unit: str, shot: Shot) -> str:
    at, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    stacked = defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    size = (at["w"] * COLUMN - 24.0, at["h"] * CELL - 66.0)
    graph = Graph(unit, stacked, defaults.get("min"), size, (shot.start, shot.end), shot.step)
    return curves(lines, graph) + legend(lines, unit)


def _named(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


def _screenshot(browser: str, html: str, height: int, output: Path) -> None:
    """Raises CalledProcessError where the browser fails."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "page.html"
        source.write_text(html)
        quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
        command = [browser, "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"]
        command += [f"--disable-{name}" for name in quiet]
        command += [f"--user-data-dir={directory}/profile", f"--window-size={24 * COLUMN + GAP},{height}"]
        subprocess.run([*command, f"--screenshot={output}", source.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
