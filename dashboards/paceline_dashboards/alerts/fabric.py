"""RDMA ports and network devices: down, slow, faulty or congested."""

from __future__ import annotations

from ..devices import PORT
from ..recording import CONGESTION, PFC_PAUSE, RETRANSMISSIONS
from .alert import TARGET, Alert

RDMA = "paceline_rdma_port"
RATE = f"({RDMA}_rate_bytes_per_second and on ({PORT}) {RDMA}_active == 1)"
OF_RAILS = f"({RATE} and on ({PORT}) paceline_rail_info)"
"""Ports that are close to a GPU: on a node they are of one kind."""
GONE = f"({RDMA}_up == 0 and max_over_time({RDMA}_up[12m]) == 0)"
"""For longer than virtual functions are remembered: those come and go with their pods."""
MOST_AN_HOUR = {
    f"{RDMA}_symbol_errors_total": 120,
    f"{RDMA}_link_error_recoveries_total": 5,
    f"{RDMA}_local_link_integrity_errors_total": 0,
    f"{RDMA}_buffer_overrun_errors_total": 0,
}
"""Errors of a link that is in order. 120 symbol errors is about what a bit error rate of 1e-12 allows."""
PLACE = "{{ $labels.device }}:{{ $labels.port }} at {{ $labels.instance }}"

FABRIC = (
    Alert(
        "PacelineRdmaPortDown",
        "critical",
        f"({RDMA}_active == 0 or on ({PORT}) {GONE})"
        f" and on ({PORT}) (paceline_rail_info or max_over_time({RDMA}_active[1d]) == 1)",
        "1m",
        f"RDMA port {PLACE} is down.",
        "Jobs that span nodes fail at the next collective, or go on over fewer ports. See cable and switch port "
        "first, then the kernel's log for the driver.",
    ),
    Alert(
        "PacelineRdmaPortSlow",
        "warning",
        f"{RATE} < on ({PORT}) max_over_time({RDMA}_rate_bytes_per_second[1d])"
        f" or on ({PORT}) {OF_RAILS} < on ({TARGET}) group_left () max by ({TARGET}) {OF_RAILS}",
        "5m",
        f"RDMA port {PLACE} runs at {{{{ $value | humanize }}}}B/s, less than its peers or than it did.",
        "It lost lanes or negotiated a lower speed; every collective waits for it. Reseat or replace the cable.",
    ),
    Alert(
        "PacelineRdmaLinkFlapping",
        "warning",
        f"increase({RDMA}_link_downed_total[1h]) > 0 or increase(paceline_nic_link_down_events_total[1h]) > 0",
        "0s",
        "The link of {{ $labels.device }}{{ $labels.netdev }} at {{ $labels.instance }} went down.",
        "It may be up again: a flap of a second is enough to end a job, or to stall it for a minute. A second "
        "one within days is a cable or a transceiver.",
    ),
    Alert(
        "PacelineRdmaLinkErrors",
        "warning",
        f" or on ({PORT}) ".join(f"increase({counter}[1h]) > {most}" for counter, most in MOST_AN_HOUR.items()),
        "0s",
        f"The link of RDMA port {PLACE} has more bit errors than it should.",
        "What is wrong is sent again, until the link goes down. Clean or replace cable and transceiver before "
        "that.",
    ),
    Alert(
        "PacelineRdmaRetransmitting",
        "warning",
        f"{RETRANSMISSIONS} > 0.0001",
        "10m",
        f"RDMA port {PLACE} sends {{{{ $value | humanizePercentage }}}} of its packets again.",
        "Packets are lost between here and the peers. Lossless RoCE: PFC or ECN is not set the same everywhere. "
        "InfiniBand: a bad link on the way; see the switches' counters.",
    ),
    Alert(
        "PacelineRdmaCongested",
        "warning",
        f"{CONGESTION} > 0.01",
        "10m",
        f"RDMA port {PLACE} is slowed down: {{{{ $value | humanizePercentage }}}} CNPs per packet.",
        "Switches mark its packets. Look for many senders to one receiver, jobs that share uplinks, and routes "
        "that ECMP put onto one link.",
    ),
    Alert(
        "PacelineNicPaused",
        "warning",
        f"{PFC_PAUSE} > 0.05 or on ({TARGET}, netdev) increase(paceline_nic_pause_storm_events_total[15m]) > 0",
        "5m",
        "{{ $labels.netdev }} at {{ $labels.instance }} is kept from sending by pause frames.",
        "Somewhere a receiver does not keep up, and the fabric hands that on. Look for the node that sends pause "
        "frames: a NIC that waits for PCIe, or a host that is stuck.",
    ),
    Alert(
        "PacelineRdmaCountersSaturated",
        "warning",
        f'{RDMA}_counter_saturated{{counter!="port_xmit_wait"}} == 1',
        "0s",
        f"Counter {{{{ $labels.counter }}}} of RDMA port {PLACE} is at its limit.",
        "It counts no more, so that no alert on it fires: reset it with perfquery -R. What drove it there is "
        "worth a look.",
    ),
)
