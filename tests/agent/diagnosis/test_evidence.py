"""Evidence from samples, and the rules against the families that sources declare."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from paceline_agent.diagnosis.evidence import LOOK_SECONDS, PORT_ACTIVE, RULES, NodeEvidence, Of
from paceline_agent.sampler import Sampler
from paceline_exporters.diagnosis.evidence import MEANING, REMARKABLE
from paceline_exporters.metrics import Family, Labels, Samples
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu.child.readings import FAST_FIELDS, VIOLATION_CALLS
from paceline_exporters.sources.host.cpu import CPU_MODES
from paceline_exporters.sources.host.pressure import RESOURCES

SERIES = [*(of for rule in RULES for of in rule.series), *(rule.per for rule in RULES if rule.per), PORT_ACTIVE]


@pytest.fixture(scope="module")
def families() -> dict[str, Family]:
    return {family.name: family for source in discover(World()) for family in source.families}


@pytest.mark.parametrize("of", SERIES, ids=lambda of: f"{of.family}-{of.label}-{','.join(of.values)}")
def test_each_rule_names_a_family_and_a_label_that_a_source_declares(of: Of, families: dict[str, Family]) -> None:
    assert of.family in families
    assert bool(of.label) == bool(of.values)
    assert not of.label or of.label in families[of.family].labels


def test_label_values_are_those_that_the_sources_emit() -> None:
    class Result:
        violationTime = 1

    reasons = {field.label for field in FAST_FIELDS if field.name == "throttle_seconds_total"}
    reasons |= {label for calls in VIOLATION_CALLS for call in calls for _, label, _ in call.take(Result())}
    emitted = {"reason": reasons, "mode": set(CPU_MODES), "resource": set(RESOURCES), "limit": {"enforced"}}
    assert all(set(of.values) <= emitted[of.label] for of in SERIES if of.label)


def test_rules_and_meanings_are_the_same_words() -> None:
    sampled = {rule.name for rule in RULES} | {"ports_down"}
    assert sampled == MEANING.keys()
    assert REMARKABLE.keys() <= MEANING.keys()


class Node:
    """A source for every family that the rules name, with the samples that a test sets."""

    name = "node"
    period_seconds = 1.0
    deadline_seconds = 1.0

    def __init__(self, families: Mapping[str, Family]) -> None:
        self.families = tuple(families[name] for name in {of.family: None for of in SERIES})
        self._by_name = {family.name: family for family in self.families}
        self.values: dict[tuple[str, Labels], float] = {}
        self.now = 100.0
        self.sampler = Sampler(self, 1000, clock=lambda: self.now)
        self.evidence = NodeEvidence([self.sampler], clock=lambda: self.now)

    def sample(self) -> Samples:
        samples = Samples()
        for (name, labels), value in self.values.items():
            samples.add(self._by_name[name], value, *labels)
        return samples

    def close(self) -> None:
        """Nothing is open."""

    def after(self, seconds: float, **changes: float) -> None:
        """Let time pass, change series (`family__label__label`), sample."""
        self.now += seconds
        for key, value in changes.items():
            name, *labels = key.split("__")
            self.values[f"paceline_{name}", tuple(labels)] = value
        self.sampler.sample_once()

    def says(self, gpu: str = "") -> Mapping[str, float]:
        return self.evidence.of(gpu)


@pytest.fixture
def node(families: dict[str, Family]) -> Node:
    return Node(families)


def test_nothing_sampled_is_nothing_known(node: Node) -> None:
    assert node.says() == {}


def test_a_rate_takes_two_samples_and_is_per_second(node: Node) -> None:
    node.after(0, gpu_throttle_seconds_total__GPU__hw_thermal=5.0)
    assert "gpu_throttled_ratio" not in node.says("GPU")
    node.after(4, gpu_throttle_seconds_total__GPU__hw_thermal=6.0)
    assert node.says("GPU")["gpu_throttled_ratio"] == pytest.approx(0.25)
    assert node.says("other") == node.says("") == {}


def test_a_rate_is_over_the_latest_seconds(node: Node) -> None:
    total = 0.0
    for second in range(60):
        total += second < 30
        node.after(2, gpu_throttle_seconds_total__GPU__sw_thermal=total)
        node.says("GPU")
    assert node.says("GPU")["gpu_throttled_ratio"] == 0.0


def test_a_reset_is_no_negative_rate(node: Node) -> None:
    for total in (10.0, 11.0, 0.5):
        node.after(3, gpu_throttle_seconds_total__GPU__thermal=total)
        said = node.says("GPU")
    assert "gpu_throttled_ratio" not in said


def test_only_heat_and_brakes_throttle(node: Node) -> None:
    for total in (0.0, 3.0):
        node.after(
            3,
            gpu_throttle_seconds_total__GPU__sw_power_cap=total,
            gpu_throttle_seconds_total__GPU__low_utilization=total,
            gpu_throttle_seconds_total__GPU__hw_power_brake=total / 3,
        )
        said = node.says("GPU")
    assert said["gpu_throttled_ratio"] == pytest.approx(1 / 3)
    assert said["gpu_power_capped_ratio"] == pytest.approx(1.0)


def test_errors_of_all_ports_add_up(node: Node) -> None:
    for total in (0.0, 30.0):
        node.after(
            3,
            rdma_port_symbol_errors_total__mlx5_0__1=total,
            rdma_port_ack_timeouts_total__mlx5_1__1=total,
        )
        said = node.says()
    assert said["nic_errors_per_second"] == pytest.approx(20.0)


def test_segments_that_had_to_be_sent_again_are_evidence_of_the_node(node: Node) -> None:
    for total, spurious in ((1000.0, 10.0), (1120.0, 90.0)):
        node.after(
            4,
            host_tcp_retransmit_segments_total=total,
            host_tcp_spurious_retransmit_segments_total=spurious,
        )
        said = node.says("GPU")
    assert said["tcp_retransmits_per_second"] == pytest.approx(10.0)


def test_ratios_of_two_families(node: Node) -> None:
    node.after(0, host_cpus=4.0, gpu_power_watts__GPU=350.0, gpu_power_limit_watts__GPU__enforced=700.0)
    for total in (0.0, 3.0):
        node.after(3, host_cpu_seconds_total__steal=total, host_cpu_seconds_total__user=9 * total)
        said = node.says("GPU")
    assert said["cpu_steal_ratio"] == pytest.approx(0.25)
    assert said["gpu_power_ratio"] == pytest.approx(0.5)


def test_a_port_that_went_down_counts_one_that_never_was_up_does_not(node: Node) -> None:
    node.after(0, rdma_port_active__mlx5_0__1=1.0, rdma_port_active__mlx5_1__1=0.0)
    assert node.says()["ports_down"] == 0.0
    node.after(LOOK_SECONDS, rdma_port_active__mlx5_0__1=0.0)
    assert node.says()["ports_down"] == 1.0
    node.after(LOOK_SECONDS, rdma_port_active__mlx5_0__1=1.0)
    assert node.says()["ports_down"] == 0.0


def test_what_is_stale_is_no_evidence(node: Node) -> None:
    node.after(0, gpu_utilization_ratio__GPU=0.9)
    assert node.says("GPU")["gpu_utilization_ratio"] == 0.9
    node.now += 60
    assert node.says("GPU") == {}


def test_it_looks_every_other_second_only(node: Node) -> None:
    node.after(0, gpu_utilization_ratio__GPU=0.9)
    assert node.says("GPU")["gpu_utilization_ratio"] == 0.9
    node.after(LOOK_SECONDS / 2, gpu_utilization_ratio__GPU=0.1)
    assert node.says("GPU")["gpu_utilization_ratio"] == 0.9
    node.after(LOOK_SECONDS / 2)
    assert node.says("GPU")["gpu_utilization_ratio"] == 0.1
