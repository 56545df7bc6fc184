"""Hosts: what ends jobs there."""

from __future__ import annotations

from .alert import TARGET, Alert

MOUNT = f"{TARGET}, mountpoint"
FREE = "paceline_filesystem_available_bytes / paceline_filesystem_size_bytes"
SHARED = '{mountpoint="/dev/shm"}'

HOSTS = (
    Alert(
        "PacelineOomKill",
        "warning",
        f"sum by ({TARGET}, run_id, rank) (increase(paceline_cgroup_oom_kills_total[10m])) > 0"
        f" or on ({TARGET}) increase(paceline_host_oom_kills_total[10m]) > 0",
        "0s",
        "A process at {{ $labels.instance }} was killed for want of memory"
        "{{ with $labels.run_id }}, at the limit of run {{ . }}{{ end }}.",
        "Often a worker of a data loader, and its job then fails without a word of why. With a run named it was "
        "the limit of its control group, else the node's memory.",
    ),
    Alert(
        "PacelineFilesystemFull",
        "warning",
        f"{FREE} < 0.05 or on ({MOUNT}) paceline_filesystem_available_bytes{SHARED} "
        f"/ paceline_filesystem_size_bytes{SHARED} < 0.1"
        f" or on ({MOUNT}) paceline_filesystem_files_free / paceline_filesystem_files < 0.05",
        "5m",
        "{{ $labels.mountpoint }} at {{ $labels.instance }} is nearly full.",
        "Checkpoints fail on a full disk; on a full /dev/shm data loaders and NCCL die with a bus error. Space "
        "or inodes: the Node dashboard shows which.",
    ),
)
