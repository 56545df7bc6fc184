"""PromQL that joins devices with their names and with whose they are, shared by the dashboards.

Device series carry little more than a UUID or a device's name: what it is called and to whom it belongs stands in
info series of the same agent.
"""

from __future__ import annotations

TARGET = "job, instance"
"""The labels of an agent; what is joined within a node is joined on them."""
GPU = f"{TARGET}, uuid"
PORT = f"{TARGET}, device, port"
HERE = 'instance=~"$instance"'
"""The agents that the Node dashboard shows."""
OWNER = "namespace, pod, container, slurm_job, uid, run_id, rank"


def here(metric: str, *matchers: str) -> str:
    """The chosen agents' series of a metric."""
    return f"{metric}{{{','.join((HERE, *matchers))}}}"


def by_index(expression: str) -> str:
    """Series per GPU, with the index by which people know it."""
    return f"({expression}) * on ({GPU}) group_left (index) {here('paceline_gpu_info')}"


def owned() -> str:
    """Each GPU and MIG instance with whose it is; those that nobody holds stand there without a name."""
    gpus, owners, instances = map(here, ("paceline_gpu_info", "paceline_gpu_owner_info", "paceline_mig_info"))
    devices = f"({gpus} or {instances})"
    return f"({devices} * on ({GPU}) group_left ({OWNER}) {owners} or on ({GPU}) {devices})"


def rails() -> str:
    """Each GPU with its owner, once for every port that is close to it; those without one too."""
    named = f"index, name, parent, profile, {OWNER}"
    near = f"{here('paceline_rail_info')} * on ({GPU}) group_left ({named}) {owned()}"
    return f"{near} or on ({GPU}) {owned()}"


def of_ranks(ranks: str, expression: str) -> str:
    """What is measured of a GPU, for the ranks that have it. The ranks may be seen by another agent (a sidecar)
    than the GPUs: a UUID is one GPU, wherever it is seen."""
    return f"{ranks} * on (uuid) group_left () max by (uuid) ({expression})"


def of_rails(expression: str) -> str:
    """What is measured of a port, summed over those that are close to a GPU, by GPU."""
    return f"sum by ({GPU}) (paceline_rail_info * on ({PORT}) group_left () ({expression}))"
