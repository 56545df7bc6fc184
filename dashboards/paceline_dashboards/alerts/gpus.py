"""GPUs: lost, faulty, or slower than they should be."""

from __future__ import annotations

from ..devices import GPU
from ..recording import NVLINKS, THROTTLE
from .alert import GPU_HOLDER, GPU_NAME, TARGET, Alert

NO_FAULT = "ignore|restart_app|follow_recovery_action"
"""What to do about an XID that an application causes, or of which the recovery action says more."""

GPUS = (
    Alert(
        "PacelineGpuLost",
        "critical",
        f"paceline_gpu_up == 0 or on ({TARGET}) (paceline_gpus_expected - paceline_gpus_up) > 0",
        "1m",
        "{{ if $labels.uuid }}"
        + GPU_NAME
        + "at {{ $labels.instance }} does not answer.{{ else }}{{ $value }} GPUs at "
        "{{ $labels.instance }} were not seen since it booted.{{ end }}",
        '{{ range query (printf "paceline_gpu_down_info{uuid=%q}" $labels.uuid) }}Reason: {{ .Labels.reason }}. '
        "{{ end }}Jobs on it fail or hang. Keep new ones off the node; the kernel's log says whether it fell off "
        "the bus (XID 79) or the driver hangs." + GPU_HOLDER,
    ),
    Alert(
        "PacelineGpuFault",
        "critical",
        f'sum by ({GPU}, xid, action) (increase(paceline_gpu_xid_total{{action!~"{NO_FAULT}"}}[15m])) > 0'
        f' or sum by ({TARGET}, pci, sxid) (increase(paceline_nvswitch_sxid_total{{fatal="true"}}[15m])) > 0',
        "0s",
        "{{ if $labels.xid }}XID {{ $labels.xid }} on "
        + GPU_NAME
        + "at {{ $labels.instance }}: {{ $labels.action }}."
        "{{ else }}Fatal SXid {{ $labels.sxid }} on the NVSwitch {{ $labels.pci }} at {{ $labels.instance }}."
        "{{ end }}",
        "A fault of the hardware or the driver, not of the application. The action is what NVIDIA's catalogue "
        "says to do at once; end the job on it first." + GPU_HOLDER,
    ),
    Alert(
        "PacelineGpuMemoryFault",
        "critical",
        "sum without (location) (increase(paceline_gpu_ecc_volatile_uncorrected_total[15m])) > 0"
        f" or on ({GPU}) paceline_gpu_remap_failed == 1",
        "0s",
        GPU_NAME + "at {{ $labels.instance }} has memory errors that cannot be corrected.",
        "What was computed there meanwhile cannot be trusted; the process was ended. Reset the GPU so that rows "
        "are remapped; where remapping has failed, replace it." + GPU_HOLDER,
    ),
    Alert(
        "PacelineGpuRecoveryNeeded",
        "warning",
        f"paceline_gpu_recovery_action > 0 or on ({GPU}) paceline_gpu_xid_recovery_info"
        f" or on ({GPU}) paceline_gpu_remap_pending == 1 or on ({GPU}) paceline_gpu_retirement_pending == 1",
        "5m",
        GPU_NAME + "at {{ $labels.instance }} waits for a reset.",
        "The driver asks for a recovery action, or rows wait to be remapped. Let no new job onto it; when it is "
        "free, do what paceline_gpu_recovery_action says." + GPU_HOLDER,
    ),
    Alert(
        "PacelineNvlinkDown",
        "warning",
        f"{NVLINKS} < on ({TARGET}) group_left () max by ({TARGET}) ({NVLINKS})"
        f" or on ({GPU}) {NVLINKS} < max_over_time({NVLINKS}[1d])"
        f" or on ({GPU}) paceline_gpu_fabric_degraded == 1",
        "5m",
        GPU_NAME + "at {{ $labels.instance }} has fewer NVLinks than its peers, or than it had.",
        "Collectives within the node take longer, or fail at the next start. See the kernel's log for XID 74 and "
        "SXids, and nvidia-smi nvlink --status." + GPU_HOLDER,
    ),
    Alert(
        "PacelineGpuPcieDegraded",
        "warning",
        f"(paceline_gpu_pcie_generation < paceline_gpu_pcie_maximum_generation"
        f" or on ({GPU}) paceline_gpu_pcie_width < paceline_gpu_pcie_maximum_width)"
        f" and on ({GPU}) avg_over_time(paceline_gpu_utilization_ratio[10m]) > 0.5",
        "10m",
        GPU_NAME + "at {{ $labels.instance }} works over a PCIe link below what GPU and slot can do.",
        "Idle links slow down by intent, this one is in use. Copies to and from the host, and RDMA to the GPU, "
        "are slower. A reset of the GPU may train the link anew; else reseat it." + GPU_HOLDER,
    ),
    Alert(
        "PacelineGpuThrottled",
        "warning",
        f'{THROTTLE}{{reason=~".*thermal|hw_power_brake"}} > 0.1',
        "10m",
        GPU_NAME
        + "at {{ $labels.instance }} is held down by {{ $labels.reason }} {{ $value | humanizePercentage }} "
        "of the time.",
        "It makes all ranks of its job slower. Heat: air flow, fans, inlet temperature, neighbours. Power brake: "
        "the node's power supplies." + GPU_HOLDER,
    ),
    Alert(
        "PacelineGpuStalled",
        "warning",
        "avg_over_time(paceline_gpu_utilization_ratio[5m]) >= 0.95"
        f" and on ({GPU}) avg_over_time(paceline_gpu_power_watts[5m])"
        ' / ignoring (limit) paceline_gpu_power_limit_watts{limit="enforced"} < 0.4',
        "10m",
        GPU_NAME + "at {{ $labels.instance }} is fully in use at less than 40 % of its power.",
        "That is what a collective looks like that waits for a rank which does not come. See whether the run "
        "still makes steps, and which rank is not in the collective." + GPU_HOLDER,
    ),
)
