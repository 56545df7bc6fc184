from __future__ import annotations

import re
from typing import Any

import pytest

from paceline_exporters.peaks import DEVICES, Device, Dtype, compute_dtype, device_peak, peak_flops

NAMES = [
    ("NVIDIA H100 80GB HBM3", 989.5),
    ("NVIDIA H100 PCIe", 756.5),
    ("NVIDIA H100 NVL", 835.5),
    ("NVIDIA H200", 989.5),
    ("NVIDIA H20", 148),
    ("NVIDIA GH200 480GB", 990),
    ("NVIDIA GH200 144G HBM3e", 990),
    ("NVIDIA B200", 2250),
    ("NVIDIA GB200", 2500),
    ("NVIDIA B300 SXM6 AC", 2250),
    ("NVIDIA A100-SXM4-80GB", 312),
    ("A100-SXM4-40GB", 312),
    ("NVIDIA A100 80GB PCIe", 312),
    ("NVIDIA A100-PCIE-40GB", 312),
    ("NVIDIA A800-SXM4-80GB", 312),
    ("NVIDIA A10", 125),
    ("NVIDIA A10G", 70),
    ("NVIDIA L4", 121),
    ("NVIDIA L40S", 362),
    ("NVIDIA GeForce RTX 4090", 165.2),
    ("NVIDIA GeForce RTX 5090", 209.5),
    ("AMD Instinct MI300X", 1307.4),
]


# Multiprocessors or compute units, dense bfloat16 FLOP of each per clock, boost clock in GHz.
BUILT = [
    ("NVIDIA H100 80GB HBM3", 132, 4096, 1.83),
    ("NVIDIA H100 NVL", 132, 4096, 1.545),
    ("NVIDIA H200 NVL", 132, 4096, 1.545),
    ("NVIDIA A100-SXM4-80GB", 108, 2048, 1.41),
    ("NVIDIA A10", 72, 1024, 1.695),
    ("NVIDIA A10G", 80, 512, 1.71),
    ("NVIDIA A40", 84, 1024, 1.74),
    ("NVIDIA L20", 92, 512, 2.52),
    ("NVIDIA L40", 142, 512, 2.49),
    ("NVIDIA L40S", 142, 1024, 2.49),
    ("NVIDIA GeForce RTX 4090", 128, 512, 2.52),
    ("NVIDIA GeForce RTX 5090", 170, 512, 2.407),
    ("NVIDIA RTX 6000 Ada Generation", 142, 1024, 2.505),
    ("NVIDIA RTX A6000", 84, 1024, 1.8),
    ("AMD Instinct MI300X", 304, 2048, 2.1),
    ("AMD Instinct MI350X", 256, 4096, 2.2),
    ("AMD Instinct MI355X", 256, 4096, 2.4),
]


@pytest.mark.parametrize(("name", "units", "per_clock", "gigahertz"), BUILT, ids=[row[0] for row in BUILT])
def test_a_data_sheets_figure_is_what_the_chip_adds_up_to(
    name: str, units: int, per_clock: int, gigahertz: float
) -> None:
    assert device_peak(name, "bf16") == pytest.approx(units * per_clock * gigahertz * 1e9, rel=0.02)


@pytest.mark.parametrize(("name", "teraflops"), NAMES)
def test_devices_by_the_names_that_cuda_gives_them(name: str, teraflops: float) -> None:
    assert device_peak(name, "bf16") == pytest.approx(teraflops * 1e12)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        "NVIDIA B300 SXM6 AC MIG 1g.34gb",
        "GRID A100-10C",
        "NVIDIA A100-SXM-64GB",
        "NVIDIA H1000",
        "Some Other Device",
        "",
    ],
)
def test_no_peak_for_a_part_of_a_device_nor_for_one_that_is_not_known(name: str) -> None:
    assert device_peak(name, "bf16") is None


@pytest.mark.parametrize(("name", "dtype"), [("Tesla V100-SXM2-32GB", "bf16"), ("Tesla T4", "tf32")])
def test_no_peak_for_what_the_tensor_cores_lack(name: str, dtype: Dtype) -> None:
    assert device_peak(name, dtype) is None
    assert device_peak(name, "fp16") is not None


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: str(device.name))
def test_figures_are_dense(device: Device) -> None:
    """Halving the operands' width doubles the rate, and no tensor core is slower than the vector unit."""
    assert device.source
    if device.bf16 is not None:
        assert device.bf16 == device.fp16
    if device.tf32 is not None and device.fp16 is not None:
        assert device.fp16 / device.tf32 == pytest.approx(2.0, rel=0.03)
        assert device.tf32 >= device.fp32 * 0.95


def test_a_name_is_in_the_table_once() -> None:
    bare = [re.sub(r"(NVIDIA|GeForce|AMD|Instinct) ", "", name) for name, _ in NAMES]
    for name in bare:
        assert sum(re.fullmatch(device.name, name) is not None for device in DEVICES) == 1, name


@pytest.mark.parametrize(
    ("header", "dtype"),
    [
        ({"precision": {"autocast": "torch.bfloat16", "parameters": "torch.float32"}}, "bf16"),
        ({"precision": {"autocast": "torch.float16"}}, "fp16"),
        ({"precision": {"parameters": "torch.bfloat16", "autocast": None}}, "bf16"),
        ({"precision": {"parameters": "torch.float32", "float32_matmul": "highest"}}, "fp32"),
        ({"precision": {"parameters": "torch.float32", "float32_matmul": "high"}}, "tf32"),
        ({"effective": {"arguments": {"bf16": True, "fp16": False}}}, "bf16"),
        ({"effective": {"arguments": {"bf16": False, "fp16": True}}}, "fp16"),
        (
            {
                "effective": {"arguments": {"bf16": False, "fp16": False, "tf32": True}},
                "precision": {"parameters": "torch.float32", "float32_matmul": "highest"},
            },
            "tf32",
        ),
        ({"effective": {"arguments": {"bf16": False, "fp16": False, "tf32": None}}}, None),
        ({"precision": {"parameters": "torch.float8_e4m3fn"}}, None),
        ({"precision": "bf16", "effective": ["bf16"]}, None),
        ({}, None),
    ],
)
def test_precision_from_what_the_job_declares(header: dict[str, Any], dtype: str | None) -> None:
    assert compute_dtype(header) == dtype


def test_no_peak_without_device_or_precision() -> None:
    precision = {"autocast": "torch.bfloat16"}
    assert peak_flops({"gpu_name": "NVIDIA H100 PCIe", "precision": precision}) == pytest.approx(756.5e12)
    assert peak_flops({"gpu_name": "NVIDIA H100 PCIe"}) is None
    assert peak_flops({"gpu_name": 7, "precision": precision}) is None
    assert peak_flops({"device": "cpu", "precision": precision}) is None
