from __future__ import annotations

import pytest
from sysfs_trees import BNXT_RE, MLX5_ROCE

from paceline_exporters.sources.rdma.counters import (
    NAMED,
    OTHER,
    OTHER_OF_DEVICE,
    RESOURCES,
    RESOURCES_PEAK,
    Meaning,
    meaning,
    outlives_driver,
)

LIMITS = {
    "symbol_error": 65_535,
    "link_downed": 255,
    "link_error_recovery": 255,
    "local_link_integrity_errors": 15,
    "excessive_buffer_overrun_errors": 15,
    "port_xmit_wait": 4_294_967_295,
    "unicast_rcv_packets": None,
}


def of(driver: str, directory: str, file: str, port: str = "1") -> Meaning:
    found = meaning(driver, directory, file, port)
    assert found is not None
    return found


@pytest.mark.parametrize("file", LIMITS)
def test_ibta_counters_stop_and_never_wrap(file: str) -> None:
    means = of("mlx5", "counters", file)
    assert (means.limit, means.bits) == (LIMITS[file], None)


def test_only_data_is_in_words() -> None:
    words = {file for file in MLX5_ROCE.counters or () if of("mlx5", "counters", file).factor != 1}
    assert words == {"port_xmit_data", "port_rcv_data"}
    assert of("mlx4", "counters_ext", "port_xmit_data_64").factor == 4
    assert of("efa", "hw_counters", "tx_bytes").factor == 1


def test_widths_are_the_drivers() -> None:
    assert of("mlx5", "hw_counters", "duplicate_request").bits == 32
    assert of("mlx5", "hw_counters", "vport_duplicate_request").bits == 32
    assert of("mlx5", "hw_counters", "duplicate_request", port="").bits == 32
    assert of("rxe", "hw_counters", "duplicate_request").bits is None
    assert of("mlx5", "hw_counters", "np_cnp_sent").bits is None
    assert of("bnxt_re", "hw_counters", "rx_bytes").bits == 48
    assert of("efa", "hw_counters", "rx_bytes").bits is None


def test_a_driver_link_downed_is_not_the_ibta_one() -> None:
    assert of("rxe", "hw_counters", "link_downed").limit is None
    assert of("rxe", "hw_counters", "link_downed").family is of("mlx5", "counters", "link_downed").family


def test_gauges_and_settings_are_told_from_counters() -> None:
    assert meaning("bnxt_re", "hw_counters", "lifespan", "1") is None
    assert meaning("bnxt_re", "hw_counters", "db_fifo_register", "1") is None
    assert of("bnxt_re", "hw_counters", "pacing_reschedule").is_counter
    assert of("bnxt_re", "hw_counters", "active_qps") == Meaning(RESOURCES, "qps")
    assert of("bnxt_re", "hw_counters", "watermark_qps") == Meaning(RESOURCES_PEAK, "qps")
    gauges = {
        file
        for file in BNXT_RE.hw_counters or ()
        if file not in ("lifespan", "db_fifo_register") and not of("bnxt_re", "hw_counters", file).is_counter
    }
    assert gauges == {name for name in BNXT_RE.hw_counters or () if name.startswith(("active_", "watermark_"))}


def test_counters_of_firmware_are_told_from_those_of_the_driver() -> None:
    assert outlives_driver("ports/1/counters/link_downed")
    assert outlives_driver("ports/1/counters_ext/port_xmit_data_64")
    assert not outlives_driver("ports/1/hw_counters/out_of_sequence")
    assert not outlives_driver("hw_counters/cmds_err")


def test_what_nobody_knows_keeps_its_name() -> None:
    assert of("brand_new", "hw_counters", "flux") == Meaning(OTHER, "flux")
    assert of("brand_new", "counters", "flux") == Meaning(OTHER, "flux")
    assert of("brand_new", "hw_counters", "flux", port="") == Meaning(OTHER_OF_DEVICE, "flux")


def test_names_and_units() -> None:
    assert len({family.name for family in NAMED}) == len(NAMED)
    for family in NAMED:
        assert family.labels == ("device", "port")
        assert (family.unit == "bytes") == family.stem.endswith("_bytes")
