"""The Tuner dashboard: studies, their trials and runs, what is proved, and how the service fares."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from .panels import RATE, Panel, Query, Row, link, make_dashboard, variable

UID = "paceline-tuner"
STUDY = 'study=~"$study"'
TUNER = "paceline_tuner"
LOST = 'outcome="lost"'


def _study(name: str, *matchers: str) -> str:
    return f"{TUNER}_study_{name}{{{','.join((STUDY, *matchers))}}}"


def _worst(name: str) -> str:
    return f"max by (study) ({_study(name)})"


def _gain() -> str:
    """Best against default in one run each; above 1 is better, whichever way the objective goes."""
    best, default = _study("best_value"), _study("default_value")
    up, down = (_study("info", f'direction="{way}"') for way in ("maximize", "minimize"))
    same = "and on (job, instance, study)"
    return f"({best} / {default} {same} {up}) or ({default} / {best} {same} {down})"


def _ask_quantile(share: float) -> str:
    return f"histogram_quantile({share:g}, sum by (le) (rate({TUNER}_ask_seconds_bucket[{RATE}])))"


STUDIES = (
    Panel(
        "Studies",
        "State: search tries configurations, proof runs the best against the default, done and failed are over. "
        "The reason stands in the study's log.",
        [Query(_study("info"))],
        "none",
        "info",
        width=12,
        columns=("study", "state", "objective", "direction", "verdict"),
    ),
    Panel(
        "Best against default",
        "Values in the objective's unit; the proof's ratio with its 95 % interval, above 1 is better than the "
        "default. n/a: not known yet. Without a proof nothing is claimed.",
        [
            Query(_worst("default_value"), "default"),
            Query(_worst("best_value"), "best"),
            Query(_worst("proof_ratio"), "ratio"),
            Query(_worst("proof_low_ratio"), "low"),
            Query(_worst("proof_high_ratio"), "high"),
        ],
        "short",
        "values",
        width=12,
        columns=("study",),
    ),
    Panel(
        "Best so far against the default, unproved",
        "One run each, so chance is in it; above 1 is better. The best of many runs flatters itself.",
        [Query(_gain(), "{{study}}")],
        "none",
        floor=None,
    ),
    Panel(
        "Proved gain and its 95 % interval",
        "From alternating pairs on the same machine; n/a before the proof has ended. A gain is claimed only if "
        "the whole interval lies above 1.",
        [
            Query(_study("proof_high_ratio"), "{{study}} high"),
            Query(_study("proof_ratio"), "{{study}} ratio"),
            Query(_study("proof_low_ratio"), "{{study}} low"),
        ],
        "none",
        floor=None,
    ),
    Panel(
        "Best and default value",
        "In the objective's unit, as the table of studies has it.",
        [Query(_study("best_value"), "{{study}} best"), Query(_study("default_value"), "{{study}} default")],
        "short",
        floor=None,
    ),
)

TRIALS = (
    Panel(
        "Trials by state",
        "complete has a value, failed was blamed after two failed runs, pruned was given up as hopeless.",
        [
            Query(f"sum by (state) ({_study('trials')})", "{{state}}"),
            Query(f"sum({_study('trial_budget')})", "budget"),
        ],
        "none",
    ),
    Panel(
        "Runs by how they ended",
        "Closings so far, by outcome and cause: a 0 here was counted, not assumed. A run that was taken for lost "
        "and came back counts twice.",
        [Query(f"sum by (outcome, cause) ({_study('runs_closed_total')})", "{{outcome}}: {{cause}}")],
        "none",
        "bars",
        height=10,
    ),
    Panel(
        "Open runs",
        "proposed waits to be started, running shows signs of life, ending waits for its last windows.",
        [Query(f"sum by (state) ({_study('open_runs')})", "{{state}}")],
        "none",
        "stack",
    ),
    Panel(
        "Runs lost",
        "Neither window nor heartbeat came within the lease; what still runs of such a job holds GPUs for "
        "nothing.",
        [Query(f"sum({_study('runs_closed_total', LOST)})")],
        "none",
        "stat",
        height=4,
    ),
    Panel(
        "Runs seen by agents",
        "Runs of these studies that an agent shows now, or showed within the last five minutes. The run leads to "
        "the Job dashboard.",
        [Query(f'paceline_run_info{{{STUDY},study!=""}}')],
        "none",
        "info",
        width=16,
        height=6,
        columns=("run_id", "study", "trial", "kind", "world_size", "node"),
        link=("Show this run", "/d/paceline-job?var-run_id=${__data.fields.run_id}"),
    ),
)

SERVICE = (
    Panel(
        "Tuner",
        "Whether Prometheus reaches it.",
        [Query('up{job="paceline-tuner"}')],
        "none",
        "stat",
        width=4,
        words={"0": "down", "1": "up"},
    ),
    Panel(
        "Time to answer an ask",
        "Waiting for a fresh configuration included. n/a while nobody asks.",
        [Query(_ask_quantile(0.5), "median"), Query(_ask_quantile(0.99), "99 of 100")],
        "s",
    ),
    Panel(
        "Asks by answer",
        "proposal: something to run; open: the asker's own unfinished runs; wait: ask again; done: the study is "
        "over.",
        [Query(f"sum by (answer) (rate({TUNER}_asks_total[{RATE}]))", "{{answer}}")],
        "suffix:/s",
    ),
    Panel(
        "Studies not shown",
        "Only the latest 100 studies, those that go on first, have series of their own.",
        [Query(f"{TUNER}_studies_hidden")],
        "none",
        "stat",
        width=4,
    ),
)


def dashboard() -> Dashboard:
    """The whole of it."""
    return make_dashboard(
        "Paceline: Tuner",
        UID,
        "Studies: what was tried, how it ended, what is better than the job's own default, and whether that is "
        "proved.",
        [variable("study", "Study", f"{TUNER}_study_info", choose_many=True)],
        [
            link("Job", "paceline-job", "One run: its steps, ranks and nodes"),
            link("Node", "paceline-node", "One node: GPUs, fabric, host, and whose they are"),
        ],
        [Row("Studies", STUDIES), Row("Trials and runs", TRIALS), Row("The service", SERVICE)],
    )
