from __future__ import annotations

from typing import Any

from paceline_exporters.sources.gpu.fleet import Fleet
from paceline_exporters.sources.gpu.links import Links


def added_up(links: Links, uuid: str, **by_kind: dict[str, float]) -> dict[str, Any]:
    values: dict[str, Any] = {"nvlink_errors_total": dict(by_kind), "power_watts": 5, "processes": {"7": -1}}
    links.add_up(uuid, values)
    assert values["power_watts"] == 5
    assert values["processes"] == {"7": -1}
    return values


def test_links_are_added_up_by_kind_and_kinds_by_link() -> None:
    values = added_up(Links(), "GPU-1", crc={"0": 1, "1": 2}, replay={"1": 4})
    assert values["nvlink_errors_total"] == {"crc": 3, "replay": 4}
    assert values["nvlink_link_errors_total"] == {"0": 1, "1": 6}


def test_links_that_are_down_count_with_what_they_said_last() -> None:
    links = Links()
    added_up(links, "GPU-1", crc={"0": 1, "1": 2})
    values = added_up(links, "GPU-1", crc={"0": 5})
    assert values["nvlink_errors_total"] == {"crc": 7}
    assert values["nvlink_link_errors_total"] == {"0": 5, "1": 2}
    assert added_up(links, "GPU-1", crc={})["nvlink_errors_total"] == {"crc": 7}
    assert added_up(links, "GPU-2", crc={"0": 1})["nvlink_errors_total"] == {"crc": 1}


def test_other_sums_have_no_series_by_link() -> None:
    values: dict[str, Any] = {"nvlink_bytes_total": {"transmit": {"0": 1024, "1": 2048}, "receive": 7}}
    Links().add_up("GPU-1", values)
    assert values == {"nvlink_bytes_total": {"transmit": 3072, "receive": 7}}


def test_a_gpu_that_was_reset_and_a_driver_that_was_reloaded_count_anew() -> None:
    for word in (["lost", "GPU-1", "gpu_is_lost"], ["gone", "driver_not_loaded"]):
        fleet = Fleet()
        fleet.apply(["data", "rare", "GPU-1", 0.0, {"nvlink_errors_total": {"crc": {"0": 1, "1": 2}}}])
        fleet.apply(word)
        values: dict[str, Any] = {"nvlink_errors_total": {"crc": {"0": 1}}}
        fleet.apply(["data", "rare", "GPU-1", 0.0, values])
        assert values["nvlink_errors_total"] == {"crc": 1}
