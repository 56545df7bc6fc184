"""report.html: one file that can be mailed around."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..submit.words import configuration
from .charts import phases_chart, proof_chart, trials_chart

_STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;max-width:800px;margin:2rem auto;
padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
.verdict{padding:.8rem 1rem;border-left:5px solid #66a182;background:#f3f7f4}
.verdict.keep{border-color:#9aa0a6;background:#f5f5f5}
code,pre{font:13px/1.5 ui-monospace,monospace;background:#f5f5f5}
pre{padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:14px}
td,th{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:#222}svg .small{font-size:11px;fill:#555}
svg .end{text-anchor:end}.axis{stroke:#444}.grid{stroke:#e5e5e5}.one{stroke:#d1495b;stroke-dasharray:4 3}
.interval{stroke:#1f4e9c;stroke-width:4}
"""


def report_page(report: Mapping[str, Any], apply_command: str) -> str:
    """The page; `apply_command` is what runs the user's own job with the result."""
    use = report["verdict"] == "use this"
    best, default = report["best"] or {}, report["default"] or {}
    applied = f"<h2>Apply it</h2><pre>{escape(apply_command)}</pre>" if use else ""
    name = escape(report["study"])
    sections = [
        f"<h1>Paceline: study {name}</h1>",
        f'<p class="verdict{"" if use else " keep"}"><b>{escape(report["verdict"])}</b><br>'
        f"{escape(report['verdict_reason'])}</p>",
        f"<p>Best: <code>{escape(configuration(best))}</code></p>" if best else "",
        applied,
        f"<h2>Trials over time ({escape(report['objective'])})</h2>",
        trials_chart(report["trials"], report["objective"]),
        _table(report),
        "<h2>Where a step's time goes, before and after</h2>",
        phases_chart(default.get("phases_seconds", {}), best.get("phases_seconds", {})),
        "<h2>The proof: alternating pairs on the same machine</h2>",
        proof_chart(report["pairs"], report["ratio"], report["ratio_ci95"]),
        "<p>The interval inverts the exact paired randomisation test of the ratio of medians; a gain is claimed "
        "only when all of it lies above 1.</p>",
        f"<p>{report['seconds']:.0f} s in all. Command: <code>{escape(' '.join(report['command']))}</code></p>",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Paceline: {name}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _table(report: Mapping[str, Any]) -> str:
    rows = "".join(_row(trial) for trial in report["trials"])
    return f"<table><tr><th>trial</th><th>configuration</th><th>outcome</th><th>value</th></tr>{rows}</table>"


def _row(trial: Mapping[str, Any]) -> str:
    words = " ".join(f"{k}={'unset' if v is None else v}" for k, v in trial["params"].items()) or "default"
    value = "n/a" if trial["value"] is None else f"{trial['value']:.5g}"
    state = trial["state"] if trial["value"] is not None else f"{trial['state']}: {trial['reason']}"
    cells = f"<td>{trial['trial']}</td><td><code>{escape(words)}</code></td><td>{escape(state)}</td>"
    return f'<tr>{cells}<td class="n">{value}</td></tr>'
