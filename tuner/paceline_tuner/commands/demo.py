"""Tune a small real Trainer job on this machine, and prove the gain: about five minutes on two cores.

Starts a tuner and an agent, tries a few configurations of a GPT-2-architecture model trained from scratch on the
standard library's own text, runs the job's default against the best in alternating pairs, and leaves report.json
and report.html.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from rich.console import Console

from ..child import ServiceChild, ServiceDied
from ..client import TunerAway, TunerClient, TunerRefused
from ..demo.study import job, study_file
from ..report import report_page, study_report
from ..study.errors import StudyError
from ..study.file import load_study
from .tune import tune


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of `paceline demo`."""
    parser.add_argument("--output", type=Path, default=Path("paceline-demo"), help="directory of all it leaves")
    parser.add_argument("--trials", type=int, default=5, help="configurations to try, the default included")
    parser.add_argument("--pairs", type=int, default=6, help="most alternating pairs of the proof, at least 6")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns 0 when the study came to a verdict."""
    root = arguments.output.absolute()
    console = Console(stderr=True, highlight=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / "study.yaml").write_text(study_file(root / "job", arguments.trials, arguments.pairs))
        return _demo(root, console)
    except (ServiceDied, StudyError, TunerAway, TunerRefused) as error:
        console.print(f"paceline demo: {error}", markup=False, soft_wrap=True)
        return 1
    except OSError as error:
        console.print(f"paceline demo: {error.filename}: {error.strerror}", markup=False, soft_wrap=True)
        return 1


def _demo(root: Path, console: Console) -> int:
    began = time.monotonic()
    spec = load_study(root / "study.yaml")
    serve = ["serve", "--web.listen-address", "127.0.0.1:0", "--database", str(root / "tuner.sqlite")]
    with ServiceChild(serve, root / "tuner.log") as service:
        agent = ["agent", "--web.listen-address", "127.0.0.1:0", "--tuner.url", service.url]
        with ServiceChild([*agent, "--spool.directory", str(root / "spool")], root / "agent.log") as node:
            console.print(
                f"tuner at {service.url}, agent's metrics at {node.url}/metrics, study in {root}/study.yaml"
            )
            tuner = TunerClient(service.url)
            status = tune(spec, tuner, None, root, node.url, console)
            if status == 130:
                return status
            _report(tuner, spec.name, root, time.monotonic() - began)
    return status


def _report(tuner: TunerClient, study: str, root: Path, seconds: float) -> None:
    view = tuner.study(study)
    best = tuner.best(study) if view["best"] else None
    report = study_report(view, best, seconds)
    own = shlex.join(job(Path("out")))
    apply = f"paceline submit --study {study} --directory {shlex.quote(str(root))} -- {own}"
    (root / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (root / "report.html").write_text(report_page(report, apply))
    lines = [f"report: {root}/report.json and {root}/report.html"]
    if report["verdict"] == "use this":
        lines += ["run the job with the result:", f"  {apply}"]
    sys.stdout.write("\n".join([*lines, f"{seconds:.0f} s in all", ""]))
