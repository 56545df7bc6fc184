"""Stories: the files that each driver shows, by name (Linux drivers/infiniband/hw and sw; see `Story`)."""

from __future__ import annotations

from dataclasses import replace

from .rdma import Story

# Small enough to stay below the limits of 4, 8 and 16 bits under every seed up to 10.
PMA = {
    "VL15_dropped": 5,
    "excessive_buffer_overrun_errors": 1,
    "link_downed": 2,
    "link_error_recovery": 3,
    "local_link_integrity_errors": 1,
    "multicast_rcv_packets": 4001,
    "multicast_xmit_packets": 4002,
    "port_rcv_constraint_errors": 4,
    "port_rcv_data": 1_250_000_001,
    "port_rcv_errors": 7,
    "port_rcv_packets": 61_000_003,
    "port_rcv_remote_physical_errors": 8,
    "port_rcv_switch_relay_errors": 9,
    "port_xmit_constraint_errors": 6,
    "port_xmit_data": 1_350_000_007,
    "port_xmit_discards": 11,
    "port_xmit_packets": 71_000_005,
    "port_xmit_wait": 1_000_003,
    "symbol_error": 12,
    "unicast_rcv_packets": 60_900_001,
    "unicast_xmit_packets": 70_900_003,
}
MLX5_QUEUE = {
    "duplicate_request": 101,
    "implied_nak_seq_err": 102,
    "lifespan": 10,
    "local_ack_timeout_err": 103,
    "out_of_buffer": 104,
    "out_of_sequence": 105,
    "packet_seq_err": 106,
    "req_cqe_error": 107,
    "req_cqe_flush_error": 108,
    "req_remote_access_errors": 109,
    "req_remote_invalid_request": 110,
    "req_rnr_retries_exceeded": 111,
    "req_transport_retries_exceeded": 112,
    "resp_cqe_error": 113,
    "resp_cqe_flush_error": 114,
    "resp_local_length_error": 115,
    "resp_remote_access_errors": 116,
    "rnr_nak_retry_err": 117,
    "rx_atomic_requests": 118,
    "rx_dct_connect": 119,
    "rx_read_requests": 12_000_001,
    "rx_write_requests": 13_000_001,
}
MLX5_ETHERNET = {
    "np_cnp_sent": 201,
    "np_ecn_marked_roce_packets": 202,
    "roce_adp_retrans": 203,
    "roce_adp_retrans_to": 204,
    "roce_slow_restart": 205,
    "roce_slow_restart_cnps": 206,
    "roce_slow_restart_trans": 207,
    "rp_cnp_handled": 208,
    "rp_cnp_ignored": 209,
    "rx_icrc_encapsulated": 210,
}
NO_ANSWER = dict.fromkeys(PMA, "N/A (no PMA)")
MLX5 = {"fw_ver": "28.39.1002", "hca_type": "MT4129", "board_id": "MT_0000000838", "hw_rev": "0x0"}

MLX5_INFINIBAND = Story(
    "mlx5_core", MLX5, "InfiniBand", "400 Gb/sec (4X NDR)", counters=PMA, hw_counters=MLX5_QUEUE
)
MLX5_ROCE = replace(
    MLX5_INFINIBAND,
    link_layer="Ethernet",
    hw_counters={**MLX5_QUEUE, **MLX5_ETHERNET},
    rate="400 Gb/sec (4X NDR)",
)
# A virtual function's own PerfMgmt agent answers with its traffic only.
MLX5_VIRTUAL_FUNCTION = replace(
    MLX5_ROCE,
    about={**MLX5, "hca_type": "MT4126", "board_id": "MT_0000000838"},
    counters=dict.fromkeys(PMA, 0) | {"port_rcv_data": 17, "port_xmit_data": 19},
)
# The uplink's representor: queue counters of the virtual port carry a prefix.
MLX5_SWITCHDEV = replace(
    MLX5_ROCE,
    hw_counters={f"vport_{name}": value for name, value in MLX5_QUEUE.items() if name != "lifespan"}
    | {"lifespan": 10},
    device_counters=MLX5_QUEUE,
)
NO_PMA = replace(MLX5_ROCE, counters=NO_ANSWER)
# Before Linux 4.5 the 64-bit counters stood in a directory of their own.
OLD_KERNEL = Story(
    "mlx4_core",
    {"fw_ver": "2.42.5000", "hca_type": "MT4099", "board_id": "MT_1100120019"},
    "InfiniBand",
    "40 Gb/sec (4X QDR)",
    counters={name: value for name, value in PMA.items() if "cast" not in name}
    | {"port_rcv_data": 4_294_967_295, "port_xmit_data": 4_294_967_295},
    hw_counters=None,
    counters_ext={
        "port_multicast_rcv_packets": 301,
        "port_multicast_xmit_packets": 302,
        "port_rcv_data_64": 8_589_934_592,
        "port_rcv_packets_64": 303,
        "port_unicast_rcv_packets": 304,
        "port_unicast_xmit_packets": 305,
        "port_xmit_data_64": 8_589_934_593,
        "port_xmit_packets_64": 306,
    },
)
EFA = Story(
    "efa",
    {"fw_ver": "0.0.0.0", "hca_type": "EFA"},
    "Unknown",
    "100 Gb/sec (4X EDR)",
    counters=None,
    hw_counters={
        "lifespan": 12,
        "tx_bytes": 1_000_001,
        "tx_pkts": 1_001,
        "rx_bytes": 1_000_003,
        "rx_pkts": 1_003,
        "rx_drops": 4,
        "send_bytes": 5_005,
        "send_wrs": 6,
        "recv_bytes": 7_007,
        "recv_wrs": 8,
        "rdma_read_wrs": 9,
        "rdma_read_bytes": 10_010,
        "rdma_read_wr_err": 11,
        "rdma_read_resp_bytes": 12_012,
        "rdma_write_wrs": 13,
        "rdma_write_bytes": 14_014,
        "rdma_write_wr_err": 15,
        "rdma_write_recv_bytes": 16_016,
        "retrans_bytes": 17_017,
        "retrans_pkts": 18,
        "retrans_timeout_events": 19,
        "unresponsive_remote_events": 20,
        "impaired_remote_conn_events": 21,
    },
    device_counters={
        "lifespan": 12,
        "submitted_cmds": 31,
        "completed_cmds": 32,
        "cmds_err": 33,
        "no_completion_cmds": 34,
        "keep_alive_rcvd": 35,
        "alloc_pd_err": 36,
        "create_qp_err": 37,
        "reg_mr_err": 38,
        "mmap_err": 39,
    },
)
BNXT_RE = Story(
    "bnxt_en",
    {"fw_ver": "229.2.52.0", "hca_type": "0x1760", "board_id": "BCM57608"},
    "Ethernet",
    "400 Gb/sec (4X NDR)",
    counters=NO_ANSWER,
    hw_counters={
        "active_ahs": 1,
        "active_cqs": 2,
        "active_mrs": 3,
        "active_mws": 4,
        "active_pds": 5,
        "active_qps": 6,
        "active_srqs": 7,
        "watermark_qps": 60,
        "lifespan": 10,
        "rx_bytes": 2_000_001,
        "rx_pkts": 2_001,
        "tx_bytes": 2_000_003,
        "tx_pkts": 2_003,
        "rx_roce_errors": 1,
        "rx_roce_discards": 2,
        "recoverable_errors": 3,
        "unrecoverable_err": 4,
        "to_retransmits": 5,
        "seq_err_naks_rcvd": 6,
        "max_retry_exceeded": 7,
        "rnr_naks_rcvd": 8,
        "dup_req": 9,
        "oos_drop_count": 10,
        "remote_access_err": 11,
        "remote_invalid_req_err": 12,
        "res_exceed_max": 13,
        "res_rx_pci_err": 14,
        "rx_out_of_buffer": 15,
        "rx_write_req": 16,
        "rx_read_req": 17,
        "rx_atomic_req": 18,
        "rx_cnp_pkts": 19,
        "tx_cnp_pkts": 20,
        "rx_ecn_marked_pkts": 21,
        "pacing_reschedule": 22,
        "pacing_complete": 23,
        "pacing_alerts": 24,
        "db_fifo_register": 0x3FF0,
    },
)
IRDMA = Story(
    "ice",
    {"fw_ver": "1.71", "hca_type": "IRDMA", "hw_rev": "0x2"},
    "Ethernet",
    "100 Gb/sec (4X EDR)",
    counters=None,
    hw_counters={
        "cnpHandled": 1,
        "cnpIgnored": 2,
        "cnpSent": 3,
        "RxECNMrkd": 4,
        "ip4InOctets": 5_005,
        "ip4InPkts": 6,
        "ip4OutOctets": 7_007,
        "ip4OutPkts": 8,
        "ip6InOctets": 9_009,
        "ip6InPkts": 10,
        "ip6OutOctets": 11_011,
        "ip6OutPkts": 12,
        "ip4InDiscards": 13,
        "tcpRetransSegs": 14,
        "rxVlanErrors": 15,
        "lifespan": 10,
    },
)
HNS = Story(
    "hns3",
    {"fw_ver": "1.17.0", "hca_type": "hns", "board_id": "0x0"},
    "Ethernet",
    "200 Gb/sec (4X HDR)",
    counters=None,
    hw_counters={
        "rx_pkt": 1_001,
        "tx_pkt": 1_002,
        "rx_err_pkt": 3,
        "tx_err_pkt": 4,
        "rx_cnp_pkt": 5,
        "tx_cnp_pkt": 6,
        "rx_rc_pkt": 1_007,
        "tx_rc_pkt": 1_008,
        "aeqe": 9,
        "cmds_err": 10,
        "qp_create_err": 11,
        "lifespan": 10,
    },
)
HFI1 = Story(
    "hfi1",
    {"fw_ver": "1.27.0", "hca_type": "Intel Omni-Path", "board_id": "HPE 100Gb 1-port OP101"},
    "InfiniBand",
    "100 Gb/sec (4X EDR)",
    counters=PMA,
    hw_counters={"TxFlitVL0": 1_001, "RxFlitVL0": 1_002, "TxWords": 1_003, "RcvHdrOvr0": 4, "lifespan": 10},
    device_counters={"ctx0:RcvHdrOvr": 1, "DmaErr": 2, "lifespan": 10},
)
RXE = Story(
    "rxe",
    {"fw_ver": "", "hca_type": ""},
    "Ethernet",
    "2.5 Gb/sec (1X SDR)",
    counters=None,
    hw_counters={
        "sent_pkts": 1_001,
        "rcvd_pkts": 1_002,
        "duplicate_request": 3,
        "out_of_seq_request": 4,
        "rcvd_rnr_err": 5,
        "send_rnr_err": 6,
        "rcvd_seq_err": 7,
        "ack_deferred": 8,
        "retry_exceeded_err": 9,
        "retry_rnr_exceeded_err": 10,
        "completer_retry_err": 11,
        "send_err": 12,
        "link_downed": 13,
        "rdma_sends": 1_014,
        "rdma_recvs": 1_015,
        "lifespan": 10,
    },
)
# Soft iWARP registers no counters at all.
SIW = Story(
    "siw", {"fw_ver": "", "hca_type": ""}, "Ethernet", "2.5 Gb/sec (1X SDR)", counters=None, hw_counters=None
)
