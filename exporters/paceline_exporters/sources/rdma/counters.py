"""What the counter files mean: family, unit, width. Files that no row names are served under one family by name.

Names, units and widths: Linux drivers/infiniband, core/sysfs.c (PORT_PMA_ATTR has the bits of each IBTA counter;
these stop at all ones), hw/mlx5/counters.c (queue counters are `__be32`, congestion and ppcnt ones 64 bits),
hw/bnxt_re/hw_counters.c, hw/irdma/ctrl.c (irdma_update_stats widens its registers itself), hw/efa/efa_verbs.c,
hw/hns/hns_roce_main.c, sw/rxe/rxe_hw_counters.c; Documentation/ABI/stable/sysfs-class-infiniband.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...metrics import Family

PORT = ("device", "port")
PMA = ("counters_ext", "counters")
"""Directories of PerfMgmt counters, the wider first: before Linux 4.5 the 64-bit ones stood apart."""
PMA_DIRECTORIES = frozenset(PMA)
HARDWARE = "hw_counters"

# family, files in counters/ and counters_ext/, files in hw_counters/, meaning
_TABLE = (
    (
        "transmit_bytes",
        "port_xmit_data_64 port_xmit_data",
        "tx_bytes ip4OutOctets ip6OutOctets",
        "Bytes sent.",
    ),
    (
        "receive_bytes",
        "port_rcv_data_64 port_rcv_data",
        "rx_bytes ip4InOctets ip6InOctets",
        "Bytes received.",
    ),
    (
        "transmit_packets",
        "port_xmit_packets_64 port_xmit_packets",
        "tx_pkts sent_pkts tx_pkt ip4OutPkts ip6OutPkts",
        "Packets sent.",
    ),
    (
        "receive_packets",
        "port_rcv_packets_64 port_rcv_packets",
        "rx_pkts rcvd_pkts rx_pkt ip4InPkts ip6InPkts",
        "Packets received.",
    ),
    ("transmit_unicast_packets", "port_unicast_xmit_packets unicast_xmit_packets", "", "Unicast packets sent."),
    ("receive_unicast_packets", "port_unicast_rcv_packets unicast_rcv_packets", "", "Unicast packets received."),
    (
        "transmit_multicast_packets",
        "port_multicast_xmit_packets multicast_xmit_packets",
        "",
        "Multicast packets sent.",
    ),
    (
        "receive_multicast_packets",
        "port_multicast_rcv_packets multicast_rcv_packets",
        "",
        "Multicast packets received.",
    ),
    (
        "transmit_wait_ticks",
        "port_xmit_wait",
        "",
        "Ticks in which there was data to send and no credit or no arbitration; a tick's length is the device's.",
    ),
    ("transmit_discards", "port_xmit_discards", "tx_roce_discards", "Packets to send that were discarded."),
    ("receive_discards", "port_rcv_discards", "rx_roce_discards", "Received packets that were discarded."),
    ("transmit_errors", "", "tx_roce_errors send_err tx_err_pkt", "Packets that could not be sent."),
    ("receive_errors", "port_rcv_errors", "rx_roce_errors rx_err_pkt", "Packets received with an error."),
    (
        "receive_remote_physical_errors",
        "port_rcv_remote_physical_errors",
        "",
        "Packets received that a switch had marked bad.",
    ),
    (
        "receive_switch_relay_errors",
        "port_rcv_switch_relay_errors",
        "",
        "Packets that a switch could not forward.",
    ),
    (
        "transmit_constraint_errors",
        "port_xmit_constraint_errors",
        "",
        "Packets not sent because of partition or raw filters.",
    ),
    (
        "receive_constraint_errors",
        "port_rcv_constraint_errors",
        "",
        "Packets discarded because of partition or raw filters.",
    ),
    ("symbol_errors", "symbol_error", "", "Minor link errors on one or more lanes."),
    ("link_error_recoveries", "link_error_recovery", "", "Times the link recovered from an error by itself."),
    ("link_downed", "link_downed", "link_downed", "Times the link failed to recover and went down."),
    ("local_link_integrity_errors", "local_link_integrity_errors", "", "Bursts of local physical errors."),
    ("buffer_overrun_errors", "excessive_buffer_overrun_errors", "", "Bursts of buffer overruns."),
    ("vl15_dropped", "VL15_dropped", "", "Management packets dropped for want of buffers."),
    ("receive_drops", "", "rx_drops", "Received packets dropped by the device."),
    ("receive_write_requests", "", "rx_write_requests rx_write_req", "RDMA write requests received."),
    ("receive_read_requests", "", "rx_read_requests rx_read_req", "RDMA read requests received."),
    ("receive_atomic_requests", "", "rx_atomic_requests rx_atomic_req", "Atomic requests received."),
    ("receive_dct_connects", "", "rx_dct_connect", "Connection requests of dynamically connected transport."),
    (
        "receive_out_of_buffer",
        "",
        "out_of_buffer rx_out_of_buffer",
        "Packets dropped because the receiver had posted no work request.",
    ),
    (
        "receive_out_of_sequence",
        "",
        "out_of_sequence oos_drop_count out_of_seq_request",
        "Packets received out of sequence: packets were lost or reordered on the way here.",
    ),
    (
        "receive_duplicate_requests",
        "",
        "duplicate_request dup_req",
        "Requests received again: an answer of this side was late or lost.",
    ),
    (
        "receive_sequence_naks",
        "",
        "packet_seq_err seq_err_naks_rcvd rcvd_seq_err",
        "Peers that missed packets of this side and said so.",
    ),
    (
        "receive_implied_sequence_naks",
        "",
        "implied_nak_seq_err",
        "Acknowledgements that skipped a read or atomic request of this side.",
    ),
    (
        "receive_rnr_naks",
        "",
        "rnr_nak_retry_err rnr_naks_rcvd rcvd_rnr_err",
        "Peers that were not ready to receive (RNR).",
    ),
    (
        "ack_timeouts",
        "",
        "local_ack_timeout_err to_retransmits retrans_timeout_events",
        "Sends repeated because no acknowledgement came in time.",
    ),
    ("retransmit_bytes", "", "retrans_bytes", "Bytes sent again."),
    ("retransmit_packets", "", "retrans_pkts tcpRetransSegs", "Packets sent again."),
    (
        "transport_retries_exceeded",
        "",
        "req_transport_retries_exceeded max_retry_exceeded retry_exceeded_err",
        "Requests given up after all retries: the queue pair is in error.",
    ),
    (
        "rnr_retries_exceeded",
        "",
        "req_rnr_retries_exceeded retry_rnr_exceeded_err",
        "Requests given up because the peer was never ready to receive.",
    ),
    (
        "unresponsive_remote_events",
        "",
        "unresponsive_remote_events",
        "Times a peer was found to answer no more.",
    ),
    (
        "impaired_remote_events",
        "",
        "impaired_remote_conn_events",
        "Times a connection to a peer was found impaired.",
    ),
    ("requester_cqe_errors", "", "req_cqe_error", "Completions with an error, of requests."),
    ("requester_cqe_flush_errors", "", "req_cqe_flush_error", "Completions flushed, of requests."),
    (
        "requester_remote_access_errors",
        "",
        "req_remote_access_errors remote_access_err",
        "Requests that the peer refused for want of access.",
    ),
    (
        "requester_remote_invalid_requests",
        "",
        "req_remote_invalid_request remote_invalid_req_err",
        "Requests that the peer called invalid.",
    ),
    ("responder_cqe_errors", "", "resp_cqe_error", "Completions with an error, of answers."),
    ("responder_cqe_flush_errors", "", "resp_cqe_flush_error", "Completions flushed, of answers."),
    ("responder_local_length_errors", "", "resp_local_length_error", "Requests longer than the buffer here."),
    (
        "responder_remote_access_errors",
        "",
        "resp_remote_access_errors",
        "Requests of peers refused here for want of access.",
    ),
    (
        "cnp_sent_packets",
        "",
        "np_cnp_sent cnpSent tx_cnp_pkt tx_cnp_pkts np_cnp_pkts",
        "Congestion notifications sent: packets came marked.",
    ),
    ("cnp_received_packets", "", "rx_cnp_pkt rx_cnp_pkts", "Congestion notifications received."),
    (
        "cnp_handled_packets",
        "",
        "rp_cnp_handled cnpHandled",
        "Congestion notifications received that slowed this side down.",
    ),
    ("cnp_ignored_packets", "", "rp_cnp_ignored cnpIgnored", "Congestion notifications received and ignored."),
    (
        "ecn_marked_packets",
        "",
        "np_ecn_marked_roce_packets RxECNMrkd rx_ecn_marked_pkts",
        "Packets received that a switch had marked for congestion.",
    ),
    ("receive_icrc_errors", "", "rx_icrc_encapsulated", "RoCE packets received with a wrong invariant CRC."),
    ("adaptive_retransmissions", "", "roce_adp_retrans", "Adaptive retransmissions."),
    ("adaptive_retransmission_timeouts", "", "roce_adp_retrans_to", "Adaptive retransmissions that timed out."),
    ("slow_restarts", "", "roce_slow_restart", "Slow restarts."),
    ("slow_restart_cnps", "", "roce_slow_restart_cnps", "Congestion notifications sent by a slow restart."),
    ("slow_restart_transitions", "", "roce_slow_restart_trans", "Changes to the state of slow restart."),
    ("send_bytes", "", "send_bytes", "Bytes of send operations."),
    ("recv_bytes", "", "recv_bytes", "Bytes of receive operations."),
    ("rdma_read_bytes", "", "rdma_read_bytes", "Bytes that this side read from peers."),
    ("rdma_read_response_bytes", "", "rdma_read_resp_bytes", "Bytes that peers read from this side."),
    ("rdma_read_errors", "", "rdma_read_wr_err", "Reads from peers that failed."),
    ("rdma_write_bytes", "", "rdma_write_bytes", "Bytes that this side wrote to peers."),
    ("rdma_write_receive_bytes", "", "rdma_write_recv_bytes", "Bytes that peers wrote to this side."),
    ("rdma_write_errors", "", "rdma_write_wr_err", "Writes to peers that failed."),
)
_WORDS = frozenset({"port_xmit_data", "port_rcv_data", "port_xmit_data_64", "port_rcv_data_64"})
"""In units of four bytes, whatever the width of the link."""
_SHARED = frozenset(
    f"ip{version}{way}{what}" for version in (4, 6) for way in ("In", "Out") for what in ("Octets", "Pkts")
)
"""irdma counts by version of IP; the series is the sum."""
# bits, and the files in counters/ that stop at them. Of the last four, those without the extended attribute do.
_STOPS = (
    (4, "local_link_integrity_errors excessive_buffer_overrun_errors"),
    (8, "link_error_recovery link_downed port_xmit_constraint_errors port_rcv_constraint_errors"),
    (
        16,
        "symbol_error port_rcv_errors port_rcv_remote_physical_errors port_rcv_switch_relay_errors "
        "port_xmit_discards VL15_dropped",
    ),
    (32, "port_xmit_wait port_xmit_data port_rcv_data port_xmit_packets port_rcv_packets"),
)
_LIMITS = {file: (1 << bits) - 1 for bits, files in _STOPS for file in files.split()}
# driver, bits, and the files in hw_counters/ that wrap at them
_WRAPPING = (
    (
        "mlx5",
        32,
        "rx_write_requests rx_read_requests rx_atomic_requests rx_dct_connect out_of_buffer out_of_sequence "
        "duplicate_request rnr_nak_retry_err packet_seq_err implied_nak_seq_err local_ack_timeout_err "
        "resp_local_length_error resp_cqe_error req_cqe_error req_remote_invalid_request "
        "req_remote_access_errors resp_remote_access_errors resp_cqe_flush_error req_cqe_flush_error "
        "req_transport_retries_exceeded req_rnr_retries_exceeded roce_adp_retrans roce_adp_retrans_to "
        "roce_slow_restart roce_slow_restart_cnps roce_slow_restart_trans",
    ),
    # The statistics context of the P5 chips counts in 48 bits (bnxt_init_stats); bnxt_re shows it as it is.
    ("bnxt_re", 48, "rx_bytes rx_pkts tx_bytes tx_pkts rx_roce_errors rx_roce_discards"),
)
_BITS = {(driver, file): bits for driver, bits, files in _WRAPPING for file in files.split()}
_NO_MEASUREMENTS = frozenset({"lifespan", "db_fifo_register"})
"""How long the driver's cache holds, in milliseconds: a setting. A register of bnxt_re as it is now: bit fields,
one of which goes up and down with its queue of doorbells (`pacing_*` beside it are counts of the driver)."""

RESOURCES = Family(
    "paceline_rdma_port_resources",
    "Objects in use on the port, as its driver counts them.",
    "gauge",
    "",
    (*PORT, "resource"),
)
RESOURCES_PEAK = Family(
    "paceline_rdma_port_resources_peak", "The most objects that were in use.", "gauge", "", (*PORT, "resource")
)
OTHER = Family(
    "paceline_rdma_port_hw_stats_total",
    "A counter of the driver that has no family of its own, by its name in sysfs.",
    "counter",
    "",
    (*PORT, "counter"),
)
OTHER_OF_DEVICE = Family(
    "paceline_rdma_device_hw_stats_total",
    "A counter of the whole device, by its name in sysfs.",
    "counter",
    "",
    ("device", "counter"),
)
# prefix in hw_counters/ -> gauge, by what is counted
_GAUGES = {"active_": RESOURCES, "watermark_": RESOURCES_PEAK}


def _family(stem: str, text: str) -> Family:
    unit = "bytes" if stem.endswith("_bytes") else ""
    return Family(f"paceline_rdma_port_{stem}_total", text, "counter", unit, PORT)


_NAMED = [(_family(stem, text), pma.split(), hardware.split()) for stem, pma, hardware, text in _TABLE]
_OF_PMA = {file: family for family, pma, _ in _NAMED for file in pma}
_OF_HARDWARE = {file: family for family, _, hardware in _NAMED for file in hardware}
NAMED = tuple(family for family, _, _ in _NAMED)
"""Families with a name of their own."""


@dataclass(frozen=True)
class Meaning:
    """Of one file."""

    family: Family
    label: str = ""
    """Third label of a family that has one."""
    factor: int = 1
    """From the file's unit to the family's."""
    bits: int | None = None
    """Width of a counter that wraps."""
    limit: int | None = None
    """Where a counter stops that does not wrap."""
    shared: bool = False
    """Other files add to the same series."""

    @property
    def is_counter(self) -> bool:
        """Else a gauge."""
        return self.family.type == "counter"


def outlives_driver(key: str) -> bool:
    """Whether a counter, by its path below the device, stands in the device's firmware: PerfMgmt's do, while
    `hw_counters` are of the driver or of queues that it makes."""
    return not PMA_DIRECTORIES.isdisjoint(key.split("/"))


def meaning(driver: str, directory: str, file: str, port: str) -> Meaning | None:
    """Of a file in one of a port's directories, or in the device's own `hw_counters` (no port); None where it is
    no measurement."""
    if file in _NO_MEASUREMENTS:
        return None
    plain = file.removeprefix("vport_") if driver == "mlx5" else file
    width = _BITS.get((driver, plain)) if directory == HARDWARE else None
    if not port:
        return Meaning(OTHER_OF_DEVICE, file, bits=width)
    if directory in PMA and file in _OF_PMA:
        limit = _LIMITS.get(file) if directory == "counters" else None
        return Meaning(_OF_PMA[file], factor=4 if file in _WORDS else 1, limit=limit)
    for prefix, gauge in _GAUGES.items():
        if directory == HARDWARE and file.startswith(prefix):
            return Meaning(gauge, file.removeprefix(prefix))
    if directory == HARDWARE and plain in _OF_HARDWARE:
        return Meaning(_OF_HARDWARE[plain], bits=width, shared=file in _SHARED)
    return Meaning(OTHER, file, bits=width)
