"""NCCL's collectives by rank, as NCCL Inspector writes them, where a job has that profiler plugin on.

Inspector (NVIDIA/nccl, plugins/profiler/inspector) is NVIDIA's; it comes with NCCL 2.28 and later and is put to
work by the job's environment: NCCL_PROFILER_PLUGIN, NCCL_INSPECTOR_ENABLE=1 and
NCCL_INSPECTOR_DUMP_THREAD_INTERVAL_MICROSECONDS, say 1000000: without an interval it writes nothing before the
end. Paceline sets none of them: the plugin times kernels on the GPU, and its files grow until the job ends.

    # share of a rank's time that is in collectives, hidden behind compute or not
    sum without (collective, size) (rate(paceline_nccl_collective_seconds_total[5m]))
    # what these leave out, as a share; it is skipped where a rank does more than some 100 operations a second
    sum without (reason) (rate(paceline_nccl_operations_lost_total[5m]))
      / (sum without (reason) (rate(paceline_nccl_operations_lost_total[5m]))
         + sum without (collective, size) (rate(paceline_nccl_collectives_total[5m])))
    # bus bandwidth of all-reduces, to be held against the link's
    paceline_nccl_bus_bandwidth_bytes_per_second{collective="AllReduce"}

Needs: the rank's PID visible, and its environment and files readable (same user, or root). Inspector's Prometheus
output is node_exporter's to collect, and nothing of it is read here. Version 4.0 of its format has the last
operation before each dump only; later ones have all but those that its ring lost, which are counted.
"""

from __future__ import annotations

from .source import NcclSource, create

__all__ = ["NcclSource", "create"]
