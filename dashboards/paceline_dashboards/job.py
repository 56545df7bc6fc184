"""The Job dashboard: one run, its ranks, and the nodes they run on."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from .devices import of_rails, of_ranks
from .panels import RATE, Panel, Query, Row, link, make_dashboard, variable
from .queries import Ranks

UID = "paceline-job"
RUN = 'run_id="$run_id"'
RANK = 'rank=~"$rank"'
WHOLE = Ranks(RATE, RUN)
"""All ranks, whichever are chosen: what is said of the run does not depend on who looks."""
CHOSEN = Ranks(RATE, RUN, RANK)
COMMUNICATION, OTHER_PARTS = 'part="communication"', 'part!="communication"'
STEP = "paceline_step"
IDLE = '{mode=~"idle|iowait"}'


def _on_nodes(expression: str) -> str:
    """Series of the agents that see a rank of the run, with the node's name."""
    ranks = CHOSEN.series("paceline_rank_info")
    return f"({expression}) * on (job, instance) group_left (node) max by (job, instance, node) ({ranks})"


def _cpu(matchers: str = "") -> str:
    return f"sum by (job, instance) (rate(paceline_host_cpu_seconds_total{matchers}[{RATE}]))"


def _of_agents(expression: str) -> str:
    return f"({expression}) and on (job, instance) {CHOSEN.series('paceline_rank_info')}"


def _gpus(expression: str) -> str:
    return of_ranks(CHOSEN.series("paceline_rank_gpu_info"), expression)


NOW = (
    Panel(
        "Ranks that train",
        "Of all ranks of the run, on all nodes. Throughput is shown only while both numbers are equal.",
        [
            Query(f"sum by (run_id) ({WHOLE.series('paceline_rank_training')})", "train"),
            Query(f"max by (run_id) ({WHOLE.of_run('paceline_run_world_size')})", "of"),
        ],
        "none",
        "stat",
        width=5,
        height=4,
    ),
    Panel(
        "Throughput",
        "Tokens per second of all ranks together, pauses included; padding counts. n/a while a rank is missing.",
        [Query(WHOLE.total(f"{STEP}_tokens_total"))],
        "suffix: tokens/s",
        "stat",
        width=4,
        height=4,
    ),
    Panel(
        "Step",
        "The optimizer step that the job has reached.",
        [Query(f"max by (run_id) ({WHOLE.series(f'{STEP}_number')})")],
        "none",
        "stat",
        width=3,
        height=4,
    ),
    Panel(
        "Loss",
        "Latest loss, mean over the ranks. n/a before the first, and once it is no number on every rank.",
        [Query(f"avg by (run_id) ({WHOLE.series(f'{STEP}_loss')})")],
        "short",
        "stat",
        width=4,
        height=4,
        floor=None,
    ),
    Panel(
        "Waiting for data",
        "Largest share of its step time that any rank spends in next() of its data loader.",
        [Query(f"max by (run_id) ({WHOLE.phase_share('data_wait')})")],
        "percentunit",
        "stat",
        width=4,
        height=4,
    ),
    Panel(
        "Slowest rank",
        "The rank with the most time of its own per step: data wait, forward, optimizer and the rest; without "
        "sync wait and backward, which contain waiting for the others.",
        [Query(f"topk by (run_id) (1, {WHOLE.own_seconds()})", "rank {{rank}}")],
        "s",
        "stat",
        width=4,
        height=4,
    ),
)

WHY = (
    Panel(
        "Verdict",
        "Why a step takes as long as it does; agents that see different nodes may differ. `paceline explain` "
        "says what to do. n/a before enough is known.",
        [Query(f"max by (verdict) ({WHOLE.of_run('paceline_run_verdict')}) == 1", "{{verdict}}")],
        "none",
        "name",
        width=5,
        height=4,
    ),
    Panel(
        "Stands still",
        "No rank has ended a step, or its phase, for longer than it ever took.",
        [Query(f"max by (run_id) ({WHOLE.of_run('paceline_run_hung')})")],
        "none",
        "stat",
        width=3,
        height=4,
        words={"0": "no", "1": "yes"},
    ),
    Panel(
        "Found so far",
        "Stragglers, slower communication, regressions and standstills, on all nodes: a 0 was counted.",
        [Query(f"sum by (kind) ({WHOLE.of_run('paceline_run_findings_total')})", "{{kind}}")],
        "none",
        "bars",
        width=8,
        height=8,
    ),
    Panel(
        "Where the latest steps' time goes",
        "Shares of the step. communication: only what nothing hides. n/a before it is known.",
        [
            Query(f"max by (part) ({WHOLE.of_run('paceline_run_time_ratio', OTHER_PARTS)})", "{{part}}"),
            # The rank that waits least waits for the network alone: an agent that has one rank cannot know.
            Query(f"min by (part) ({WHOLE.of_run('paceline_run_time_ratio', COMMUNICATION)})", "{{part}}"),
        ],
        "percentunit",
        "stack",
    ),
    Panel(
        "Stragglers",
        "What a rank costs all others, as a share of the step; 0 where it is no straggler.",
        [Query(f"max by (rank) ({CHOSEN.series('paceline_rank_straggler_ratio')})", "rank {{rank}}")],
        "percentunit",
    ),
)

STEPS = (
    Panel(
        "Where a step's time goes",
        "Mean seconds per step by phase, averaged over the ranks; together they are the step. Backward contains "
        "the gradient all-reduce, sync wait the skew of slower ranks. Pauses (logging, evaluation, checkpoints) "
        "are not in it.",
        [Query(WHOLE.phase_seconds(), "{{phase}}")],
        "s",
        "stack",
        width=12,
    ),
    Panel(
        "Throughput",
        "Of all ranks together, over wall time: it is 0 when the job stands still, and a gap when a rank is "
        "missing.",
        [Query(WHOLE.total(f"{STEP}_tokens_total"), "tokens/s")],
        "suffix: tokens/s",
        width=12,
    ),
    Panel(
        "Own time per step, by rank",
        "Without what a rank spends waiting for the others: the highest line is the rank that all others wait "
        "for.",
        [Query(CHOSEN.own_seconds(), "rank {{rank}}")],
        "s",
    ),
    Panel(
        "Share of waiting for data, by rank",
        "next() of the data loader only. Above 30 % for ten minutes it is an alert.",
        [Query(CHOSEN.phase_share("data_wait"), "rank {{rank}}")],
        "percentunit",
    ),
    Panel(
        "Share of waiting for other ranks",
        "Sync wait: what happens before the step, such as gathering the token count, absorbs the skew of slower "
        "ranks. The rank that waits least is the slow one.",
        [Query(CHOSEN.phase_share("sync_wait"), "rank {{rank}}")],
        "percentunit",
    ),
    Panel(
        "Gradient communication under DDP",
        "The latest sampled backward pass: how long it computed, how long it communicated, and how much of that "
        "nothing hid (exposed). n/a without DDP, and until a step was sampled.",
        [Query(f"max by (run_id, part) ({CHOSEN.series('paceline_step_ddp_seconds')})", "{{part}}")],
        "s",
    ),
    Panel(
        "Pace against its own past",
        "Samples per second of stepping, pauses left out, over five minutes, and the median of its last hour. "
        "Below 70 % of that for ten minutes it is an alert. Needs the recording rules.",
        [
            Query(f"run:paceline_step_samples:pace5m{{{RUN}}}", "now"),
            Query(f"quantile_over_time(0.5, run:paceline_step_samples:pace5m{{{RUN}}}[1h])", "last hour"),
        ],
        "suffix: samples/s",
    ),
    Panel(
        "GPU memory peak",
        "Largest amount that PyTorch had allocated, by rank. n/a without a GPU.",
        [Query(CHOSEN.series("paceline_step_gpu_memory_peak_bytes"), "rank {{rank}}")],
        "bytes",
    ),
)

TRAINING = (
    Panel(
        "Loss",
        "By rank, each on its own share of the batch. A line that ends while the rank trains is no number any "
        "more.",
        [Query(CHOSEN.series(f"{STEP}_loss"), "rank {{rank}}")],
        "short",
        floor=None,
    ),
    Panel(
        "Gradient norm",
        "Before clipping.",
        [Query(CHOSEN.series(f"{STEP}_grad_norm"), "rank {{rank}}")],
        "short",
    ),
    Panel(
        "Learning rate",
        "As the latest step used it.",
        [Query(f"max by (run_id) ({CHOSEN.series(f'{STEP}_learning_rate')})", "learning rate")],
        "none",
    ),
)

RATE_OF_RAIL = f"rate(paceline_rdma_port_transmit_bytes_total[{RATE}])"
THROTTLE = (
    'sum by (job, instance, uuid) (rate(paceline_gpu_throttle_seconds_total{reason=~".*thermal|hw_power_brake"}'
    f"[{RATE}]))"
)
GPUS = tuple(
    Panel(title, text, [Query(_gpus(expression), "rank {{rank}}")], unit, width=6)  # type: ignore[arg-type] # a unit
    for title, expression, unit, text in (
        (
            "Multiprocessors active",
            "paceline_gpu_sm_active_ratio",
            "percentunit",
            "Of the rank's GPU. Needs Hopper or newer; n/a without a GPU.",
        ),
        (
            "Tensor cores active",
            "paceline_gpu_tensor_active_ratio",
            "percentunit",
            "Of the rank's GPU. Needs Hopper or newer; n/a without a GPU.",
        ),
        (
            "Power draw",
            "paceline_gpu_power_watts",
            "watt",
            "Of the rank's GPU: one that draws less than the others computes less, or waits. n/a without a GPU.",
        ),
        (
            "Temperature",
            'paceline_gpu_temperature_celsius{sensor="gpu"}',
            "celsius",
            "Of the rank's GPU. n/a without a GPU.",
        ),
        (
            "Clock",
            'paceline_gpu_clock_hertz{clock="sm"}',
            "hertz",
            "Of the multiprocessors of the rank's GPU. n/a without a GPU.",
        ),
        (
            "Clocks held down by heat or power brake",
            THROTTLE,
            "percentunit",
            "Share of the time on the rank's GPU. n/a without a GPU.",
        ),
        (
            "Sent by the nearest NICs",
            of_rails(RATE_OF_RAIL),
            "Bps",
            "RDMA bytes per second of the ports close to the rank's GPU; a port close to two GPUs counts for "
            "both.",
        ),
        (
            "Foreign processes",
            "paceline_gpu_foreign_processes",
            "none",
            "On the rank's GPU, that belong to no rank. n/a while processes are hidden.",
        ),
    )
)

NODES = (
    Panel(
        "CPU in use",
        "Share of all CPUs of each node that the run is on, whoever uses them.",
        [
            Query(
                _on_nodes(f"1 - {_cpu(IDLE)} / {_cpu()}"),
                "{{node}}",
            )
        ],
        "percentunit",
    ),
    Panel(
        "Memory in use",
        "What is not available to new processes, of all memory of the node.",
        [
            Query(
                _on_nodes("paceline_host_memory_total_bytes - paceline_host_memory_available_bytes"),
                "{{node}} in use",
            ),
            Query(_on_nodes("paceline_host_memory_total_bytes"), "{{node}} all"),
        ],
        "bytes",
    ),
    Panel(
        "Network",
        "Bytes per second of each device that moves any; loopback is the ranks of one node among themselves.",
        [
            Query(
                _on_nodes(f"rate(paceline_host_network_{way}_bytes_total[{RATE}]) > 0"),
                f"{{{{node}}}} {{{{device}}}} {way}",
            )
            for way in ("receive", "transmit")
        ],
        "Bps",
    ),
)

EVENTS = (
    Panel(
        "Events",
        "What happened on the chosen ranks so far, by kind: a 0 here was counted, not assumed.",
        [Query(f"sum by (kind) ({CHOSEN.series(f'{STEP}_events_total')})", "{{kind}}")],
        "none",
        "bars",
        width=6,
    ),
    Panel(
        "Time in pauses",
        "Share of wall time in logging, evaluation and checkpoints, by rank.",
        [Query(CHOSEN.phases('phase="pause"'), "rank {{rank}}")],
        "percentunit",
        width=6,
    ),
    Panel(
        "Run",
        "The latest attempt. A row leads to its study on the Tuner dashboard.",
        [Query(WHOLE.of_run("paceline_run_info"))],
        "none",
        "info",
        width=12,
        columns=("run_id", "study", "trial", "kind", "world_size", "attempt", "torch", "transformers"),
        link=("Show its study", "/d/paceline-tuner?var-study=${__data.fields.study}"),
    ),
)

OWNERS, OWN_GPUS = map(CHOSEN.series, ("paceline_rank_owner_info", "paceline_rank_gpu_info"))
EACH = "job, instance, run_id, rank"
AGENTS = (
    Panel(
        "Sources",
        "1: the latest sample of the source was good and in time. A source that fails loses only its own series.",
        [Query(_of_agents("paceline_agent_source_success"), "{{instance}} {{source}}")],
        "none",
        words={"0": "fails", "1": "good"},
    ),
    Panel(
        "What the agent costs",
        "CPU of the agent itself, as a share of one CPU.",
        [Query(_of_agents(f"rate(paceline_agent_cpu_seconds_total[{RATE}])"), "{{instance}}")],
        "percentunit",
    ),
    Panel(
        "What is left out",
        "Per second: steps overwritten before they were read, series over the budget, rings over the limit.",
        [
            Query(
                f"sum by (rank) (rate({CHOSEN.series(f'{STEP}_records_lost_total')}[{RATE}]))",
                "steps, rank {{rank}}",
            ),
            Query(
                _of_agents(f"sum by (job, instance) (rate(paceline_agent_source_series_dropped_total[{RATE}]))"),
                "{{instance}} series",
            ),
            Query(_of_agents(f"rate(paceline_rings_dropped_total[{RATE}])"), "{{instance}} rings"),
        ],
        "suffix:/s",
    ),
    Panel(
        "Ranks",
        "Where each rank runs. A row leads to its node.",
        [Query(CHOSEN.series("paceline_rank_info"))],
        "none",
        "info",
        width=12,
        columns=("rank", "local_rank", "device", "node", "instance"),
        link=("Show its node", "/d/paceline-node?var-node=${__data.fields.node}"),
    ),
    Panel(
        "Whose the ranks are, and their GPUs",
        "The GPU is the one that the rank's ring names, or on which it holds most memory. n/a where processes "
        "are hidden and rings name none.",
        [Query(f"{OWNERS} * on ({EACH}) group_left (uuid) {OWN_GPUS} or on ({EACH}) {OWNERS}")],
        "none",
        "info",
        width=12,
        columns=("rank", "namespace", "pod", "container", "slurm_job", "uid", "uuid"),
    ),
)


def dashboard() -> Dashboard:
    """The whole of it."""
    return make_dashboard(
        "Paceline: Job",
        UID,
        "One training run: where its steps' time goes, whether it learns, and what its nodes do meanwhile.",
        [
            variable("run_id", "Run", "paceline_run_info", choose_many=False),
            variable("rank", "Rank", 'paceline_rank_info{run_id="$run_id"}', choose_many=True),
        ],
        [
            link("Tuner", "paceline-tuner", "Studies, trials and what is proved"),
            link("Node", "paceline-node", "One node: GPUs, fabric, host, and whose they are"),
        ],
        [
            Row("Now", NOW),
            Row("Why", WHY),
            Row("Steps", STEPS),
            Row("Training", TRAINING),
            Row("GPUs of the ranks", GPUS),
            Row("Nodes of the run", NODES),
            Row("Events", EVENTS),
            Row("Agents of the run", AGENTS),
        ],
    )
