"""The Node dashboard: one node, its GPUs, its fabric, whose they are, and what watching them costs."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from .devices import HERE, here, rails
from .node_fabric import CONGESTION, PORTS
from .node_gpus import GPUS, HEALTH, MIG
from .node_host import HOSTS
from .panels import RATE, Panel, Query, Row, link, make_dashboard, variable

UID = "paceline-node"
NODE = 'node=~"$node"'
AGENT = "paceline_agent"
NVML = "paceline_nvml"


def _rate(metric: str) -> str:
    return f"rate({here(metric)}[{RATE}])"


def _sum(expression: str) -> str:
    return f"sum({expression})"


NOW = (
    Panel(
        "GPUs that answer",
        "Of those that this node has had since it booted. n/a without GPUs.",
        [
            Query(_sum(here("paceline_gpus_up")), "up"),
            Query(_sum(here("paceline_gpus_expected")), "of"),
        ],
        "none",
        "stat",
        width=5,
        height=4,
    ),
    Panel(
        "RDMA ports active",
        "Of all ports, management included. n/a without RDMA.",
        [
            Query(_sum(here("paceline_rdma_port_active")), "active"),
            Query(f"count({here('paceline_rdma_port_up')})", "of"),
        ],
        "none",
        "stat",
        width=5,
        height=4,
    ),
    Panel(
        "GPUs that ask for a reset",
        "By recovery action, or by rows that wait to be remapped. n/a where no GPU can tell.",
        [
            Query(
                f"count({here('paceline_gpu_recovery_action')} > 0 or {here('paceline_gpu_remap_pending')} > 0) "
                f"or 0 * sum({here('paceline_gpu_remap_pending')})"
            )
        ],
        "none",
        "stat",
        width=4,
        height=4,
    ),
    Panel(
        "GPUs in use",
        "Held by a container, a Slurm step or a user. n/a while some cannot be asked about.",
        [Query(_sum(f"{here('paceline_gpu_owners')} > bool 0"))],
        "none",
        "stat",
        width=3,
        height=4,
    ),
    Panel(
        "Power of all GPUs",
        "Draw of the boards together.",
        [Query(_sum(here("paceline_gpu_power_watts")))],
        "watt",
        "stat",
        width=4,
        height=4,
    ),
    Panel(
        "Sources that fail",
        "Of the agent: their series are missing, the others are not.",
        [Query(_sum(f"{here(f'{AGENT}_source_success')} == bool 0"))],
        "none",
        "stat",
        width=3,
        height=4,
    ),
)

OWNERS = (
    Panel(
        "Devices, and whose they are",
        "A row per GPU or MIG instance and port close to it: path is how far, as in nvidia-smi topo -m. The "
        "owner is a rank where one is known, else the pod, Slurm job or user that holds the GPU; empty: nobody. "
        "The run leads to the Job dashboard.",
        [Query(rails())],
        "none",
        "info",
        width=24,
        height=10,
        columns=(
            *("index", "name", "uuid", "profile", "device", "port", "netdev", "path"),
            *("run_id", "rank", "namespace", "pod", "container", "slurm_job", "uid"),
        ),
        link=("Show this run", "/d/paceline-job?var-run_id=${__data.fields.run_id}"),
    ),
    Panel(
        "Processes on GPUs that belong to no rank",
        "The one with most memory on each GPU. n/a where there is none, and where processes are hidden.",
        [Query(here("paceline_gpu_foreign_info"))],
        "none",
        "info",
        width=12,
        height=6,
        columns=("uuid", "command", "namespace", "pod", "slurm_job", "uid"),
    ),
    Panel(
        "Devices that the kubelet gave away",
        "By container. n/a without Kubernetes.",
        [Query(here("paceline_pod_devices"))],
        "none",
        "info",
        width=12,
        height=6,
        columns=("namespace", "pod", "container", "resource", "Value"),
    ),
)

AGENTS = (
    Panel(
        "Sources",
        "1: the latest sample was good and in time. A source that fails loses its own series only.",
        [Query(here(f"{AGENT}_source_success"), "{{instance}} {{source}}")],
        "none",
        words={"0": "fails", "1": "good"},
    ),
    Panel(
        "Age of what is served",
        "By source. Beyond twice its period it is dropped, never frozen.",
        [Query(here(f"{AGENT}_source_age_seconds"), "{{instance}} {{source}}")],
        "s",
    ),
    Panel(
        "Time that a sample takes",
        "By source; a driver that answers slowly shows here first.",
        [Query(here(f"{AGENT}_source_duration_seconds"), "{{instance}} {{source}}")],
        "s",
    ),
    Panel(
        "CPU",
        "Share of one CPU: of the agent, and of the process that owns NVML.",
        [
            Query(_rate(f"{AGENT}_cpu_seconds_total"), "{{instance}} agent"),
            Query(_rate(f"{NVML}_child_cpu_seconds_total"), "{{instance}} NVML"),
        ],
        "percentunit",
    ),
    Panel(
        "Memory",
        "Resident: of the agent, and of the process that owns NVML.",
        [
            Query(here(f"{AGENT}_resident_memory_bytes"), "{{instance}} agent"),
            Query(here(f"{NVML}_child_resident_memory_bytes"), "{{instance}} NVML"),
        ],
        "bytes",
    ),
    Panel(
        "Time inside NVML",
        "Share of the wall time in calls of the driver, which keep other callers waiting.",
        [Query(_rate(f"{NVML}_seconds_total"), "{{instance}}")],
        "percentunit",
    ),
    Panel(
        "NVML's process",
        "How often it was ended so far, by reason, and calls that did not return in time.",
        [
            Query(here(f"{NVML}_child_restarts_total"), "{{instance}} ended: {{reason}}"),
            Query(here(f"{NVML}_deadline_misses_total"), "{{instance}} late: {{group}}"),
            Query(here(f"{NVML}_children_abandoned"), "{{instance}} stuck in the driver"),
        ],
        "none",
    ),
    Panel(
        "Scrapes",
        "Time to answer: half of them, and all but one in a hundred, are faster.",
        [
            Query(
                f"histogram_quantile({share:g}, sum by (le) (rate("
                f"{here(f'{AGENT}_scrape_duration_seconds_bucket')}[{RATE}])))",
                name,
            )
            for share, name in ((0.5, "median"), (0.99, "99 of 100"))
        ],
        "s",
    ),
    Panel(
        "What cannot be seen",
        "Per second: reads of RDMA files and of network devices' statistics that failed, questions of whose a "
        "device is that were not answered, series over the budget, records of the kernel's log that were lost.",
        [
            Query(_rate("paceline_rdma_read_errors_total"), "{{device}}: {{error}}"),
            Query(_rate("paceline_nic_ethtool_errors_total"), "{{netdev}}: {{errno}}"),
            Query(_rate("paceline_owners_errors_total"), "{{from}}: {{error}}"),
            Query(_rate(f"{AGENT}_source_series_dropped_total"), "{{source}}: series dropped"),
            Query(_rate("paceline_gpu_kernel_log_lost_total"), "kernel log: lost"),
        ],
        "suffix:/s",
    ),
    Panel(
        "Access",
        "Whether XIDs are also read from the kernel's log, and whether the kubelet answers. n/a: not needed "
        "here.",
        [
            Query(here("paceline_gpu_kernel_log_readable"), "{{instance}} kernel log"),
            Query(here("paceline_owners_kubelet_up"), "{{instance}} kubelet"),
        ],
        "none",
        words={"0": "no", "1": "yes"},
    ),
    Panel(
        "Agents",
        "Those of this node: one of its own, and those in training pods.",
        [Query(f"{AGENT}_info{{{NODE},{HERE}}}")],
        "none",
        "info",
        width=16,
        columns=("node", "instance", "version", "python"),
    ),
)


def dashboard() -> Dashboard:
    """The whole of it."""
    return make_dashboard(
        "Paceline: Node",
        UID,
        "One node: its GPUs, its RDMA ports, its host, whose they are, and what watching them costs.",
        [
            variable("node", "Node", f"{AGENT}_info", choose_many=False),
            variable("instance", "Agent", f"{AGENT}_info{{{NODE}}}", choose_many=True),
        ],
        [
            link("Job", "paceline-job", "One run: its steps, ranks and nodes"),
            link("Tuner", "paceline-tuner", "Studies, trials and what is proved"),
        ],
        [
            Row("Now", NOW),
            Row("Whose it is", OWNERS),
            Row("GPUs", GPUS),
            Row("Health of the GPUs", HEALTH),
            Row("MIG instances", MIG),
            Row("RDMA ports", PORTS),
            Row("Congestion and network devices", CONGESTION),
            Row("Host", HOSTS),
            Row("Agent", AGENTS),
        ],
    )
