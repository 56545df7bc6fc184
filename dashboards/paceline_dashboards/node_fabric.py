"""The Node dashboard's fabric: RDMA ports, and the network devices that carry RoCE."""

from __future__ import annotations

from .devices import here
from .panels import RATE, Panel, Query

EACH = "{{device}}:{{port}}"
RDMA = "paceline_rdma_port"
NIC = "paceline_nic"


def _rate(metric: str, *matchers: str) -> str:
    return f"rate({here(metric, *matchers)}[{RATE}])"


def _since(title: str, *counters: str) -> Query:
    """A column of the table of errors: what came in the chosen time, the counters taken together."""
    return Query(
        " + ".join(f"sum by (device) (increase({here(f'{RDMA}_{name}_total')}[$__range]))" for name in counters),
        title,
    )


def _of_packets(counter: str, packets: str) -> str:
    return f"{_rate(f'{RDMA}_{counter}_total')} / ({_rate(f'{RDMA}_{packets}_packets_total')} > 0)"


PORTS = (
    Panel(
        "State",
        "1: the port is active, its link is up, and its network device has a carrier.",
        [Query(here(f"{RDMA}_active"), EACH)],
        "none",
        words={"0": "not active", "1": "active"},
    ),
    Panel(
        "Rate of the link",
        "As negotiated now. A port below its peers has lost lanes or speed.",
        [Query(here(f"{RDMA}_rate_bytes_per_second"), EACH)],
        "Bps",
    ),
    Panel(
        "Share of the rate in use",
        "Bytes sent against the rate of the link.",
        [Query(f"{_rate(f'{RDMA}_transmit_bytes_total')} / {here(f'{RDMA}_rate_bytes_per_second')}", EACH)],
        "percentunit",
    ),
    Panel(
        "Received",
        "Bytes per second by RDMA; TCP traffic of an Ethernet port is not in it on all devices.",
        [Query(_rate(f"{RDMA}_receive_bytes_total"), EACH)],
        "Bps",
    ),
    Panel(
        "Transmitted",
        "Bytes per second by RDMA; TCP traffic of an Ethernet port is not in it on all devices.",
        [Query(_rate(f"{RDMA}_transmit_bytes_total"), EACH)],
        "Bps",
    ),
    Panel(
        "Waiting to send",
        "Ticks per second in which there was data, and no credit or no arbitration. A tick's length is the "
        "device's: compare ports of one kind.",
        [Query(_rate(f"{RDMA}_transmit_wait_ticks_total"), EACH)],
        "suffix:/s",
    ),
    Panel(
        "Errors in the chosen time",
        "By device. A column that is n/a: this driver does not count it. A counter at its limit counts no more "
        "until it is reset: its column says too little.",
        [
            _since("link downs", "link_downed"),
            _since("recoveries", "link_error_recoveries"),
            _since("symbol errors", "symbol_errors"),
            _since("receive errors", "receive_errors"),
            _since("discards", "transmit_discards"),
            _since("retransmissions", "receive_sequence_naks", "ack_timeouts"),
            _since("out of sequence", "receive_out_of_sequence"),
            _since("no buffer", "receive_out_of_buffer", "receive_rnr_naks"),
            _since("retries exceeded", "transport_retries_exceeded", "rnr_retries_exceeded"),
            Query(f"sum by (device) (increase({here(f'{RDMA}_stats_resets_total')}[$__range]))", "resets"),
            Query(f"sum by (device) ({here(f'{RDMA}_counters_saturated')})", "at their limit"),
        ],
        "none",
        "values",
        width=24,
        height=9,
        columns=("device",),
    ),
)

CONGESTION = (
    Panel(
        "Congestion notifications taken",
        "CNPs that slowed this side down, per packet sent. n/a on InfiniBand, and while nothing is sent.",
        [Query(_of_packets("cnp_handled_packets", "transmit"), EACH)],
        "percentunit",
    ),
    Panel(
        "Packets that came marked",
        "ECN marks of switches, per packet received: the way to this node is congested.",
        [Query(_of_packets("ecn_marked_packets", "receive"), EACH)],
        "percentunit",
    ),
    Panel(
        "Out of sequence",
        "Per packet received. Adaptive routing reorders packets by intent; without it, packets were lost.",
        [Query(_of_packets("receive_out_of_sequence", "receive"), EACH)],
        "percentunit",
    ),
    Panel(
        "Paused by PFC",
        "Share of the time a priority was not allowed to send (receive), or kept the other side from sending "
        "(transmit). n/a where PFC is off, and where the driver does not tell.",
        [
            Query(_rate(f"{NIC}_{way}_pfc_pause_seconds_total"), f"{{{{netdev}}}} {{{{priority}}}} {way}")
            for way in ("receive", "transmit")
        ],
        "percentunit",
    ),
    Panel(
        "Paused as a whole",
        "Share of the time by global pause frames, and pauses that went on too long (storms).",
        [
            Query(_rate(f"{NIC}_receive_pause_seconds_total"), "{{netdev}} receive"),
            Query(_rate(f"{NIC}_transmit_pause_seconds_total"), "{{netdev}} transmit"),
            Query(_rate(f"{NIC}_pause_storm_events_total"), "{{netdev}} storms, {{level}}, /s"),
        ],
        "percentunit",
    ),
    Panel(
        "Discards and faults of network devices",
        "Per second. Discards at the port: a switch sent more than this host took.",
        [
            Query(_rate(f"{NIC}_receive_discards_total"), "{{netdev}} discards"),
            Query(_rate(f"{NIC}_receive_crc_errors_total"), "{{netdev}} CRC"),
            Query(_rate(f"{NIC}_receive_uncorrected_symbols_total"), "{{netdev}} symbols"),
            Query(_rate(f"{NIC}_link_down_events_total"), "{{netdev}} link down"),
            Query(_rate(f"{NIC}_module_faults_total"), "{{netdev}} module, {{fault}}"),
        ],
        "suffix:/s",
    ),
    Panel(
        "PCIe cannot keep up",
        "Share of the last second in which the NIC's requests waited for PCIe: the NIC is faster than its slot "
        "or the memory behind it.",
        [Query(here(f"{NIC}_pcie_stalled_ratio"), "{{netdev}} {{request}}")],
        "percentunit",
    ),
    Panel(
        "Ports",
        "compute: a NIC for training; management: the node's own. A GPU's nearest are in the table of devices.",
        [Query(here(f"{NIC}_info"))],
        "none",
        "info",
        width=16,
        columns=("device", "port", "netdev", "driver", "role", "pci", "numa_node"),
    ),
)
