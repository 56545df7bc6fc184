"""Which of a driver's statistics are served, and as what: one generic name for what several drivers count.

Where the names and their meaning come from, as paths in the Linux source. mlx5: Documentation/networking/
device_drivers/ethernet/mellanox/mlx5/counters.rst. The others' tables of strings, in drivers/net/ethernet/:
broadcom/bnxt/bnxt_ethtool.c, intel/ice/ice_ethtool.c, amazon/ena/ena_ethtool.c and
hisilicon/hns3/hns3pf/hclge_main.c.

Widths: mlx5 takes some of its own from 32-bit registers, which wrap (en_stats.c: READ_CTR32_BE, and the queue
counters); the others keep 64 bits or widen in the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ...metrics import Family, FamilyType

BITS = 8
MICROSECONDS = 1_000_000
PERCENT = 100
DIRECTIONS = {"rx": ("receive", "received"), "tx": ("transmit", "transmitted")}
_BITS = dict.fromkeys(
    (
        *("rx_pci_signal_integrity", "tx_pci_signal_integrity"),
        *("outbound_pci_stalled_rd_events", "outbound_pci_stalled_wr_events"),
        *("link_down_events_phy", "rx_out_of_buffer", "dev_out_of_buffer"),
    ),
    32,
)
"""Width of counters that wrap before 64 bits; all of these names are mlx5's only."""
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Row:
    """A family, or one for each direction where its name says `{way}`."""

    name: str
    """Without the prefix, and without the `_total` of a counter."""
    help: str
    names: tuple[str, ...] | Mapping[str, str]
    """What drivers call it, `{io}` for rx or tx. A tuple: the first that the driver has is taken, and a number in
    it, written `#`, becomes the value of the label. A mapping: value of the label -> name."""
    label: str = ""
    """Name of the label beside `netdev`."""
    unit: str = ""
    divisor: int = 1
    """From the driver's unit to the base unit."""
    type: FamilyType = "counter"


ROWS = (
    Row(
        "{way}_pfc_pause_frames",
        "PFC pause frames {done}. mlx5 has the series only where PFC is enabled for the priority.",
        ("{io}_prio#_pause", "{io}_pfc_ena_frames_pri#", "{io}_priority_#_xoff.nic", "mac_{io}_pfc_pri#_pkt_num"),
        label="priority",
    ),
    Row(
        "{way}_pfc_pause_seconds",
        "Time the priority was paused by PFC frames {done}.",
        ("{io}_prio#_pause_duration", "pfc_pri#_{io}_duration_us"),
        label="priority",
        unit="seconds",
        divisor=MICROSECONDS,
    ),
    Row(
        "{way}_pfc_pause_transitions",
        "Times the priority went from paused to running, by PFC frames {done}.",
        ("{io}_prio#_pause_transition", "pfc_pri#_{io}_transitions"),
        label="priority",
    ),
    Row(
        "{way}_pause_frames",
        "Global (802.3x) pause frames {done}.",
        (
            "{io}_global_pause",
            "{io}_pause_ctrl_phy",
            "{io}_pause_frames",
            "link_xoff_{io}.nic",
            "mac_{io}_mac_pause_num",
        ),
    ),
    Row(
        "{way}_pause_seconds",
        "Time the port was paused by global pause frames {done}.",
        ("{io}_global_pause_duration",),
        unit="seconds",
        divisor=MICROSECONDS,
    ),
    Row(
        "receive_pause_transitions",
        "Times the port went from paused to running, by global pause frames received.",
        ("rx_global_pause_transition",),
    ),
    Row(
        "pause_storm_events",
        "Pauses sent for too long: warning, or error when the device stopped sending them.",
        {"warning": "tx_pause_storm_warning_events", "error": "tx_pause_storm_error_events"},
        label="level",
    ),
    Row(
        "receive_priority_discards",
        "Packets discarded for want of receive buffers of the device.",
        ("rx_prio#_discards",),
        label="priority",
    ),
    Row(
        "receive_priority_buffer_discards",
        "Packets discarded for want of receive buffers of this host.",
        ("rx_prio#_buf_discard",),
        label="priority",
    ),
    Row(
        "receive_priority_congestion_discards",
        "Packets discarded because this host was congested.",
        ("rx_prio#_cong_discard",),
        label="priority",
    ),
    Row(
        "receive_priority_marked",
        "Packets that the device marked with ECN because this host was congested.",
        ("rx_prio#_marked",),
        label="priority",
    ),
    Row(
        "{way}_discards",
        "Packets discarded by the port that were to be {done}.",
        ("{io}_discards_phy", "{io}_stat_discard", "{io}_dropped.nic", "{io}_discards"),
    ),
    Row(
        "receive_out_of_buffer",
        "Packets for which the receive queue had no buffer posted.",
        ("rx_out_of_buffer",),
    ),
    Row("device_out_of_buffer", "Times a queue of the device itself had no buffer.", ("dev_out_of_buffer",)),
    Row(
        "receive_buffer_full_events",
        "Times the port's receive buffer filled beyond its threshold (mlx5: 85 %).",
        ("rx_buffer_passed_thres_phy", "rx_buffer_passed_threshold"),
    ),
    Row(
        "receive_crc_errors",
        "Packets dropped for a wrong frame check sequence.",
        (
            "rx_crc_errors_phy",
            "rx_fcs_err_frames",
            "rx_crc_errors.nic",
            "mac_rx_fcs_err_pkt_num",
            "rx_crc_errors",
            "rx_fcs_errors",
        ),
    ),
    Row(
        "receive_symbol_errors",
        "Packets dropped for errors of the physical coding.",
        ("rx_symbol_err_phy", "mac_rx_sym_err_pkt_num", "rx_symbol_errors"),
    ),
    Row(
        "receive_uncorrected_symbols",
        "Symbol errors that forward error correction did not correct, or that were met without it.",
        ("rx_pcs_symbol_err_phy", "rx_pcs_symbol_err"),
    ),
    Row(
        "receive_corrected_errors",
        "Wrong bits that forward error correction corrected.",
        ("rx_corrected_bits_phy", "rx_corrected_bits"),
    ),
    Row(
        "receive_capacity_bytes",
        "Bytes the port could have received: what ratios of wrong bits refer to.",
        ("rx_bits_phy", "rx_bits"),
        unit="bytes",
        divisor=BITS,
    ),
    Row("receive_lane_errors", "Raw errors of a lane, before correction.", ("rx_err_lane_#_phy",), label="lane"),
    Row(
        "receive_fec_blocks",
        "Blocks with errors, by what forward error correction made of them.",
        {"corrected": "rx_fec_corrected_blocks", "uncorrectable": "rx_fec_uncorrectable_blocks"},
        label="outcome",
    ),
    Row("link_down_events", "Times the link went down.", ("link_down_events_phy", "link_down_events")),
    Row(
        "mac_faults",
        "Link faults, by the end that signalled them.",
        {"local": "mac_local_faults.nic", "remote": "mac_remote_faults.nic"},
        label="end",
    ),
    Row(
        "module_faults",
        "Faults of the transceiver module, and times it was unplugged.",
        {fault: f"module_{fault}" for fault in ("bus_stuck", "high_temp", "bad_shorted", "unplug")},
        label="fault",
    ),
    Row(
        "pcie_{way}_signal_errors",
        "Recoveries of the PCIe link from signal errors; transmit: begun by the other end.",
        ("{io}_pci_signal_integrity",),
    ),
    Row(
        "pcie_stalled_ratio",
        "Share of the last second in which the device's requests waited for PCIe credits.",
        {"read": "outbound_pci_stalled_rd", "write": "outbound_pci_stalled_wr"},
        label="request",
        unit="ratio",
        divisor=PERCENT,
        type="gauge",
    ),
    Row(
        "pcie_stalled_seconds",
        "Seconds in which the device's requests waited for PCIe credits for over 30 % of the time.",
        {"read": "outbound_pci_stalled_rd_events", "write": "outbound_pci_stalled_wr_events"},
        label="request",
        unit="seconds",
    ),
    Row(
        "pcie_buffer_overflows",
        "Packets dropped because PCIe took them more slowly than they came.",
        ("outbound_pci_buffer_overflow",),
    ),
    Row(
        "rdma_{way}_bytes",
        "RDMA bytes {done} by the function's virtual port.",
        {cast: f"{{io}}_vport_rdma_{cast}_bytes" for cast in ("unicast", "multicast")},
        label="cast",
        unit="bytes",
    ),
    Row(
        "rdma_{way}_packets",
        "RDMA packets {done} by the function's virtual port.",
        {cast: f"{{io}}_vport_rdma_{cast}_packets" for cast in ("unicast", "multicast")},
        label="cast",
    ),
    Row(
        "allowance_exceeded_packets",
        "Packets queued or dropped beyond what the cloud allows the instance.",
        {
            "bandwidth_in": "bw_in_allowance_exceeded",
            "bandwidth_out": "bw_out_allowance_exceeded",
            "packets": "pps_allowance_exceeded",
            "connections": "conntrack_allowance_exceeded",
            "link_local": "linklocal_allowance_exceeded",
        },
        label="allowance",
    ),
)


@dataclass(frozen=True)
class Meaning:
    """What one of a driver's names stands for."""

    family: Family
    label: str | None
    """Value of the family's second label; None where the driver's name has it, as a number."""
    divisor: int
    rank: int
    """Of several names for one series the lowest is taken."""


@dataclass(frozen=True)
class Reading:
    """A statistic of one device that is served."""

    position: int
    """In the device's list."""
    family: Family
    labels: tuple[str, ...]
    divisor: int

    key: str
    """Names the series within its device. Not the driver's name, whose place another may take: the series must
    not go down by that."""
    bits: int | None
    """Width of a counter that wraps; None for 64 bits."""


def _meanings() -> Iterator[tuple[str, Meaning]]:
    for row in ROWS:
        for io, (way, done) in DIRECTIONS.items():
            words = {"io": io, "way": way, "done": done}
            family = _family(row, words)
            named = row.names.items() if isinstance(row.names, Mapping) else ((None, name) for name in row.names)
            for rank, (label, name) in enumerate(named):
                yield name.format(**words), Meaning(family, label, row.divisor, rank)
            if "{way}" not in row.name:
                break


def _family(row: Row, words: Mapping[str, str]) -> Family:
    total = "_total" if row.type == "counter" else ""
    labels = ("netdev", row.label) if row.label else ("netdev",)
    name = f"paceline_nic_{row.name.format(**words)}{total}"
    return Family(name, row.help.format(**words), row.type, row.unit, labels)


_MEANINGS = dict(_meanings())
FAMILIES = tuple(dict.fromkeys(meaning.family for meaning in _MEANINGS.values()))


def known(name: str) -> bool:
    """Whether a driver's name has a meaning here."""
    return _pattern(name) in _MEANINGS


def readings(device: str, names: Iterable[str]) -> list[Reading]:
    """What is served of a device that has these statistics."""
    chosen: dict[tuple[Family, tuple[str, ...]], tuple[int, Reading]] = {}
    for position, name in enumerate(names):
        meaning = _MEANINGS.get(_pattern(name))
        if meaning is None:
            continue
        labels = (device, *_second(meaning, name))
        rank, _ = chosen.get((meaning.family, labels), (meaning.rank + 1, None))
        if meaning.rank < rank:
            key = " ".join((meaning.family.name, *labels[1:]))
            reading = Reading(position, meaning.family, labels, meaning.divisor, key, _BITS.get(name))
            chosen[meaning.family, labels] = meaning.rank, reading
    return [reading for _, reading in chosen.values()]


def _pattern(name: str) -> str:
    return _DIGITS.sub("#", name)


def _second(meaning: Meaning, name: str) -> tuple[str, ...]:
    if len(meaning.family.labels) == 1:
        return ()
    return (_DIGITS.findall(name)[0] if meaning.label is None else meaning.label,)
