"""The statistics of five drivers, listed as `ethtool -S` prints them; names from their source, values made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.ethtool.ioctl import split
from paceline_exporters.sources.ethtool.naming import FAMILIES, known, readings

LISTS = Path(__file__).parents[3] / "fixtures" / "ethtool"
PRIORITIES = range(8)


def listed(driver: str) -> dict[str, int]:
    lines = (LISTS / f"{driver}.txt").read_text().splitlines()[1:]
    return {name.strip(): int(value) for name, _, value in (line.rpartition(":") for line in lines)}


def served(driver: str) -> dict[str, float]:
    """`family label` -> value, without what all have in common."""
    statistics = listed(driver)
    values = list(statistics.values())
    return {
        " ".join((reading.family.name.removeprefix("paceline_nic_"), *reading.labels[1:])): (
            values[reading.position] / reading.divisor
        )
        for reading in readings("eth0", statistics)
    }


def test_mlx5() -> None:
    assert served("mlx5") == {
        "receive_out_of_buffer_total": 21,
        "rdma_receive_packets_total unicast": 12,
        "rdma_receive_bytes_total unicast": 1300,
        "rdma_transmit_packets_total unicast": 14,
        "rdma_transmit_bytes_total unicast": 1500,
        "rdma_receive_packets_total multicast": 16,
        "rdma_receive_bytes_total multicast": 1700,
        "rdma_transmit_packets_total multicast": 18,
        "rdma_transmit_bytes_total multicast": 1900,
        "receive_crc_errors_total": 1,
        "receive_symbol_errors_total": 2,
        "receive_discards_total": 5,
        "transmit_discards_total": 6,
        "link_down_events_total": 8,
        "receive_uncorrected_symbols_total": 9,
        "receive_corrected_errors_total": 10,
        "receive_capacity_bytes_total": 1375,
        **{f"receive_lane_errors_total {lane}": 100 + lane for lane in range(4)},
        "receive_buffer_full_events_total": 13,
        "pcie_receive_signal_errors_total": 14,
        "pcie_transmit_signal_errors_total": 15,
        "pcie_stalled_ratio read": 0.25,
        "pcie_stalled_ratio write": 0.5,
        "pcie_stalled_seconds_total read": 16,
        "pcie_stalled_seconds_total write": 17,
        "pcie_buffer_overflows_total": 18,
        "receive_priority_discards_total 0": 19,
        "receive_priority_buffer_discards_total 0": 20,
        "receive_priority_congestion_discards_total 0": 22,
        "receive_priority_marked_total 0": 23,
        "receive_priority_discards_total 3": 24,
        "receive_pfc_pause_frames_total 3": 30,
        "receive_pfc_pause_seconds_total 3": 1.234567,
        "transmit_pfc_pause_frames_total 3": 31,
        "transmit_pfc_pause_seconds_total 3": 2.5,
        "receive_pfc_pause_transitions_total 3": 32,
        "pause_storm_events_total warning": 33,
        "pause_storm_events_total error": 34,
        "module_faults_total unplug": 35,
        "module_faults_total bus_stuck": 36,
        "module_faults_total high_temp": 37,
        "module_faults_total bad_shorted": 38,
        "device_out_of_buffer_total": 39,
        "transmit_pause_frames_total": 41,
        "receive_pause_frames_total": 42,
        "receive_pause_seconds_total": 3,
        "transmit_pause_seconds_total": 4,
        "receive_pause_transitions_total": 43,
    }


def test_bnxt() -> None:
    assert served("bnxt_en") == {
        "receive_crc_errors_total": 2,
        "receive_pause_frames_total": 3,
        "transmit_pause_frames_total": 30,
        **{f"receive_pfc_pause_frames_total {p}": 10 + p for p in PRIORITIES},
        **{f"transmit_pfc_pause_frames_total {p}": 20 + p for p in PRIORITIES},
        **{f"receive_pfc_pause_seconds_total {p}": p for p in PRIORITIES},
        **{f"transmit_pfc_pause_seconds_total {p}": p / 2 for p in PRIORITIES},
        **{f"receive_pfc_pause_transitions_total {p}": 40 + p for p in PRIORITIES},
        **{f"transmit_pfc_pause_transitions_total {p}": 60 + p for p in PRIORITIES},
        "receive_discards_total": 8,
        "transmit_discards_total": 31,
        "link_down_events_total": 32,
        "receive_capacity_bytes_total": 6.25,
        "receive_buffer_full_events_total": 51,
        "receive_uncorrected_symbols_total": 52,
        "receive_corrected_errors_total": 53,
        "receive_fec_blocks_total corrected": 54,
        "receive_fec_blocks_total uncorrectable": 55,
    }


def test_ice() -> None:
    assert served("ice") == {
        "receive_pause_frames_total": 7,
        "transmit_pause_frames_total": 8,
        "receive_discards_total": 10,
        "receive_crc_errors_total": 11,
        "mac_faults_total local": 12,
        "mac_faults_total remote": 13,
        **{f"transmit_pfc_pause_frames_total {p}": 20 + p for p in PRIORITIES},
        **{f"receive_pfc_pause_frames_total {p}": 30 + p for p in PRIORITIES},
    }


def test_ena() -> None:
    assert served("ena") == {
        "allowance_exceeded_packets_total bandwidth_in": 2,
        "allowance_exceeded_packets_total bandwidth_out": 3,
        "allowance_exceeded_packets_total packets": 4,
        "allowance_exceeded_packets_total connections": 5,
        "allowance_exceeded_packets_total link_local": 6,
    }


def test_hns3() -> None:
    assert served("hns3") == {
        "transmit_pause_frames_total": 1,
        "receive_pause_frames_total": 2,
        "receive_crc_errors_total": 5,
        **{f"transmit_pfc_pause_frames_total {p}": 10 + p for p in PRIORITIES},
        **{f"receive_pfc_pause_frames_total {p}": 20 + p for p in PRIORITIES},
    }


@pytest.mark.parametrize(
    "names", [["rx_global_pause", "rx_pause_ctrl_phy"], ["rx_pause_ctrl_phy", "rx_global_pause"]]
)
def test_the_better_of_two_names_is_taken_in_any_order(names: list[str]) -> None:
    [reading] = readings("eth0", names)
    assert names[reading.position] == "rx_global_pause"
    [fallback] = readings("eth0", ["rx_pause_ctrl_phy"])
    assert fallback.family is reading.family


@pytest.mark.parametrize("name", ["", "rx_prio_pause", "rx_prio3_pause_x", "xrx_prio3_pause", "rx_queue_0_drops"])
def test_other_names_mean_nothing(name: str) -> None:
    assert not known(name)
    assert readings("eth0", [name]) == []


def test_every_family_is_met_in_a_list() -> None:
    met = {reading.family for path in LISTS.glob("*.txt") for reading in readings("eth0", listed(path.stem))}
    assert set(FAMILIES) == met


PARTS = ("rx", "tx", "_prio", "3", "12", "\u0663", "_pause", "_duration", "_err_lane_", "_phy", "pfc_pri", ".nic")
NAMES = st.lists(st.sampled_from(PARTS)).map("".join) | st.text() | st.sampled_from(list(listed("mlx5")))


@given(st.lists(NAMES), st.binary(max_size=200))
def test_whatever_a_driver_lists_each_series_has_one_reading(names: list[str], raw: bytes) -> None:
    names += split(raw)
    found = readings("eth0", names)
    assert len({(reading.family, reading.labels) for reading in found}) == len(found)
    assert len({reading.key for reading in found}) == len(found)
    for reading in found:
        assert known(names[reading.position])
        assert len(reading.labels) == len(reading.family.labels)
        assert reading.labels[0] == "eth0"
        assert all(label.isascii() and label for label in reading.labels)
        assert reading.divisor >= 1
        assert reading.bits in (None, 32)
