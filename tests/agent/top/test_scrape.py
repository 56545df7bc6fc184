from __future__ import annotations

import pytest

from paceline_agent.top.scrape import FAMILIES, devices, series
from paceline_exporters.metrics import Family, Renderer, Samples, exposition
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World

SCRAPE = """
# HELP paceline_gpu_power_watts Power draw.
# TYPE paceline_gpu_power_watts gauge
paceline_gpu_power_watts{uuid="GPU-1"} 512.5
paceline_gpu_temperature_celsius{uuid="GPU-1",sensor="memory"} 80
paceline_gpu_temperature_celsius{uuid="GPU-1",sensor="gpu"} 61
paceline_rank_gpu_info{run_id="a b",rank="3",uuid="GPU-1"} 1
paceline_host_network_receive_bytes_total{device="lo"} 1e9
paceline_host_network_receive_bytes_total{device="eth0"} 1000
paceline_host_network_transmit_bytes_total{device="eth0"} 10
"""


def test_gpus_and_whose_they_are() -> None:
    found = devices(SCRAPE, 1.0)
    gpu = found.gpus[found.of_rank["a b", 3]]
    assert (gpu.power_watts, gpu.temperature_celsius, gpu.utilization) == (512.5, 61, None)


def test_rdma_ports_are_what_counts_where_there_are_any() -> None:
    assert (devices(SCRAPE, 1.0).rdma, devices(SCRAPE, 1.0).received) == (False, 1000)
    more = 'paceline_rdma_port_receive_bytes_total{device="mlx5_0",port="1"} 5\n' * 2
    found = devices(SCRAPE + more, 1.0)
    assert (found.rdma, found.received, found.sent) == (True, 10, 0)


def test_each_family_is_one_that_a_source_declares() -> None:
    declared = {family.name for source in discover(World()) for family in source.families}
    assert set(FAMILIES) <= declared


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "a,b=c", "{}", "\\n", ""])
def test_labels_come_back_as_they_were_rendered(value: str) -> None:
    family = Family("paceline_mine", "Mine.", "gauge", "", ("one", "two"))
    samples = Samples()
    samples.add(family, 1.5, value, "x")
    text = exposition([Renderer([family], 9).render(samples)], "text").decode()
    assert list(series(text)) == [("paceline_mine", {"two": "x", **({"one": value} if value else {})}, 1.5)]


def test_what_is_no_sample_is_passed_over() -> None:
    text = "nonsense\n# x\npaceline_a{ 1\npaceline_b x\npaceline_c NaN\n"
    assert [family for family, _, _ in series(text)] == ["paceline_c"]
