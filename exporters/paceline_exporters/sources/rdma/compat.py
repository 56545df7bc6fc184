"""The same ports under node_exporter's names, labels and values: `node_infiniband_*`.

Values are the hardware's own, as node_exporter shows them: a counter that wraps or is reset goes down. Two things
differ: a file that cannot be read costs its own series only, and `lifespan_seconds` is not 0 always. Names: its
collector/infiniband_linux.go (those of `hw_counters` are in releases after 1.5, and for mlx5 only).
"""

from __future__ import annotations

from ...metrics import Family

PORT = ("device", "port")

# file in counters/ -> name
_COUNTERS = {
    "VL15_dropped": "vl15_dropped",
    "excessive_buffer_overrun_errors": "excessive_buffer_overrun_errors",
    "link_downed": "link_downed",
    "link_error_recovery": "link_error_recovery",
    "local_link_integrity_errors": "local_link_integrity_errors",
    "multicast_rcv_packets": "multicast_packets_received",
    "multicast_xmit_packets": "multicast_packets_transmitted",
    "port_rcv_constraint_errors": "port_constraint_errors_received",
    "port_rcv_data": "port_data_received_bytes",
    "port_rcv_discards": "port_discards_received",
    "port_rcv_errors": "port_errors_received",
    "port_rcv_packets": "port_packets_received",
    "port_rcv_remote_physical_errors": "port_receive_remote_physical_errors",
    "port_rcv_switch_relay_errors": "port_receive_switch_relay_errors",
    "port_xmit_constraint_errors": "port_constraint_errors_transmitted",
    "port_xmit_data": "port_data_transmitted_bytes",
    "port_xmit_discards": "port_discards_transmitted",
    "port_xmit_packets": "port_packets_transmitted",
    "port_xmit_wait": "port_transmit_wait",
    "symbol_error": "symbol_error",
    "unicast_rcv_packets": "unicast_packets_received",
    "unicast_xmit_packets": "unicast_packets_transmitted",
}
# file in counters_ext/ -> name
_LEGACY = {
    "port_multicast_rcv_packets": "legacy_multicast_packets_received",
    "port_multicast_xmit_packets": "legacy_multicast_packets_transmitted",
    "port_rcv_data_64": "legacy_data_received_bytes",
    "port_rcv_packets_64": "legacy_packets_received",
    "port_unicast_rcv_packets": "legacy_unicast_packets_received",
    "port_unicast_xmit_packets": "legacy_unicast_packets_transmitted",
    "port_xmit_data_64": "legacy_data_transmitted_bytes",
    "port_xmit_packets_64": "legacy_packets_transmitted",
}
# file in hw_counters/ -> name, in releases after 1.5
HARDWARE = {
    "duplicate_request": "duplicate_requests_packets",
    "implied_nak_seq_err": "implied_nak_seq_errors",
    "local_ack_timeout_err": "local_ack_timeout_errors",
    "np_cnp_sent": "np_cnp_packets_sent",
    "np_ecn_marked_roce_packets": "np_ecn_marked_roce_packets_received",
    "out_of_buffer": "out_of_buffer_drops",
    "out_of_sequence": "out_of_sequence_packets_received",
    "packet_seq_err": "packet_sequence_errors",
    "req_cqe_error": "req_cqes_errors",
    "req_cqe_flush_error": "req_cqes_flush_errors",
    "req_remote_access_errors": "req_remote_access_errors",
    "req_remote_invalid_request": "req_remote_invalid_request_errors",
    "resp_cqe_error": "resp_cqes_errors",
    "resp_cqe_flush_error": "resp_cqes_flush_errors",
    "resp_local_length_error": "resp_local_length_errors",
    "resp_remote_access_errors": "resp_remote_access_errors",
    "rnr_nak_retry_err": "rnr_nak_retry_packets_received",
    "roce_adp_retrans": "roce_adp_retransmits",
    "roce_adp_retrans_to": "roce_adp_retransmits_timeout",
    "roce_slow_restart": "roce_slow_restart_used",
    "roce_slow_restart_cnps": "roce_slow_restart_cnps",
    "roce_slow_restart_trans": "roce_slow_restart",
    "rp_cnp_handled": "rp_cnp_packets_handled",
    "rp_cnp_ignored": "rp_cnp_ignored_packets_received",
    "rx_atomic_requests": "rx_atomic_requests",
    "rx_dct_connect": "rx_dct_connect",
    "rx_icrc_encapsulated": "rx_icrc_encapsulated_errors",
    "rx_read_requests": "rx_read_requests",
    "rx_write_requests": "rx_write_requests",
}
_WORDS = frozenset({"port_rcv_data", "port_xmit_data", "port_rcv_data_64", "port_xmit_data_64"})


def _gauge(name: str, text: str) -> Family:
    return Family(f"node_infiniband_{name}", text, "gauge", "", PORT)


def _counter(directory: str, file: str, name: str) -> Family:
    return Family(
        f"node_infiniband_{name}_total",
        f"The port's {directory}/{file}{', in bytes' if file in _WORDS else ''}.",
        "counter",
        "bytes" if file in _WORDS else "",
        PORT,
    )


INFO = Family(
    "node_infiniband_info",
    "What the device says of itself.",
    "info",
    "",
    ("board_id", "device", "firmware_version", "hca_type"),
)
STATE = _gauge("state_id", "State of the port: 1 down, 2 init, 3 armed, 4 active, 5 active deferred.")
PHYSICAL_STATE = _gauge(
    "physical_state_id", "1 sleep, 2 polling, 3 disabled, 4 training, 5 link up, 6 error recovery, 7 test."
)
RATE = _gauge("rate_bytes_per_second", "Signalling rate of the link.")
LIFESPAN = _gauge("lifespan_seconds", "How long the driver serves hw_counters from its cache.")
_FAMILIES = {
    (directory, file): _counter(directory, file, name)
    for directory, names in (("counters", _COUNTERS), ("counters_ext", _LEGACY), ("hw_counters", HARDWARE))
    for file, name in names.items()
}
FAMILIES = (INFO, STATE, PHYSICAL_STATE, RATE, LIFESPAN, *_FAMILIES.values())


def counter(driver: str, directory: str, file: str) -> tuple[Family | None, int]:
    """The family of a port's counter, None where node_exporter has none, and the factor from the file's unit."""
    known = directory != "hw_counters" or driver == "mlx5"
    return _FAMILIES.get((directory, file)) if known else None, 4 if file in _WORDS else 1
