"""What a device could compute at most: dense FLOP/s by dtype, as its vendor's data sheet says.

Data sheets print figures "with sparsity", twice what a dense multiplication can reach: those are halved here.
Tensor cores (AMD: matrix cores) with accumulation in float32, at boost clock; figures are tested against the
product of multiprocessors, FLOP per clock and boost clock where those are published. Where the precision of a
job or the figure of a device is not known there is no peak: a ratio to a guess looks like a fact. Arithmetic in
FP8 is not told by jobs; their peak is that of the precision they declare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Dtype = Literal["bf16", "fp16", "tf32", "fp32"]


@dataclass(frozen=True)
class Device:
    """A device by its name; TFLOP/s by dtype, None where its tensor cores cannot."""

    name: str
    """Regular expression for all of what CUDA and NVML call it, without vendor and brand."""
    bf16: float | None
    fp16: float | None
    tf32: float | None
    fp32: float
    source: str


_V100 = "NVIDIA V100 Tensor Core GPU data sheet"
_GA102 = "NVIDIA Ampere GA102 GPU Architecture, appendix A"
_A100 = "NVIDIA A100 and A800 data sheets"
_H100 = "NVIDIA H100 Tensor Core GPU data sheet, halved"
_BLACKWELL = "NVIDIA Blackwell data sheet, individual GPU, halved"
_ULTRA = "NVIDIA Blackwell Ultra data sheet, halved"
_CDNA3 = "AMD CDNA 3 white paper and Instinct MI300 data sheets"
_CDNA4 = "AMD Instinct MI350 series data sheets"

DEVICES = (
    Device(r"GB300", 2500, 2500, 1250, 80, _ULTRA),
    Device(r"B300(?: SXM6 AC)?", 2250, 2250, 1125, 75, _ULTRA),
    Device(r"GB200", 2500, 2500, 1250, 80, _BLACKWELL),
    Device(r"B200", 2250, 2250, 1100, 75, _BLACKWELL),
    Device(r"H200 NVL", 835.5, 835.5, 417.5, 60, "NVIDIA H200 Tensor Core GPU data sheet, halved"),
    Device(r"H200", 989.5, 989.5, 494.5, 67, "NVIDIA H200 Tensor Core GPU data sheet, halved"),
    Device(r"GH200 \d+GB?(?: HBM\w+)?", 990, 990, 494.5, 67, "NVIDIA GH200 Superchip data sheet, halved"),
    Device(r"H100 PCIe", 756.5, 756.5, 378, 51, "NVIDIA H100 Tensor Core GPU data sheet, halved"),
    Device(r"H100 NVL", 835.5, 835.5, 417.5, 60, _H100),
    Device(r"H100 \d+GB HBM3\w?", 989.5, 989.5, 494.5, 67, _H100),
    Device(r"H800 PCIe", 756.5, 756.5, 378, 51, "NVIDIA H800 data sheet, halved"),
    Device(r"H800", 989.5, 989.5, 494.5, 67, "NVIDIA H800 data sheet, halved"),
    Device(r"H20(?:-3e)?", 148, 148, 74, 44, "NVIDIA H20 data sheet"),
    Device(r"A[18]00-SXM4?-[48]0GB", 312, 312, 156, 19.5, _A100),
    Device(r"A[18]00(?:-PCIE-[48]0GB| [48]0GB PCIe)", 312, 312, 156, 19.5, _A100),
    Device(r"A30", 165, 165, 82, 10.3, "NVIDIA A30 data sheet"),
    Device(r"A40", 149.7, 149.7, 74.8, 37.4, "NVIDIA A40 data sheet"),
    Device(r"A10G", 70, 70, 35, 35, "NVIDIA A10G data sheet"),
    Device(r"A10", 125, 125, 62.5, 31.2, "NVIDIA A10 data sheet"),
    Device(r"L40S", 362, 362, 183, 91.6, "NVIDIA L40S data sheet"),
    Device(r"L40", 181, 181, 90.5, 90.5, "NVIDIA L40 data sheet"),
    Device(r"L20", 119.5, 119.5, 59.8, 59.8, "NVIDIA L20 data sheet"),
    Device(r"L4", 121, 121, 60, 30.3, "NVIDIA L4 data sheet, halved"),
    Device(r"V100-SXM2-(?:16|32)GB", None, 125, None, 15.7, _V100),
    Device(r"V100-PCIE-(?:16|32)GB", None, 112, None, 14, _V100),
    Device(r"V100S-PCIE-32GB", None, 130, None, 16.4, _V100),
    Device(r"T4", None, 65, None, 8.1, "NVIDIA T4 data sheet"),
    Device(r"RTX 5090", 209.5, 209.5, 104.8, 104.8, "NVIDIA RTX Blackwell GPU Architecture, appendix A"),
    Device(r"RTX 4090", 165.2, 165.2, 82.6, 82.6, "NVIDIA Ada GPU Architecture, appendix A"),
    Device(r"RTX 3090", 71, 71, 35.6, 35.6, _GA102),
    Device(r"RTX 6000 Ada Generation", 364.2, 364.2, 182.1, 91.1, "NVIDIA RTX 6000 Ada data sheet, halved"),
    Device(r"RTX A6000", 154.8, 154.8, 77.4, 38.7, _GA102),
    Device(r"MI355X", 2516.6, 2516.6, None, 157.3, _CDNA4),
    Device(r"MI350X", 2306.9, 2306.9, None, 144.2, _CDNA4),
    Device(r"MI3(?:00|25)X", 1307.4, 1307.4, 653.7, 163.4, _CDNA3),
    Device(r"MI300A", 980.6, 980.6, 490.3, 122.6, _CDNA3),
)
"""A part of a device (`... MIG 1g.10gb`, a vGPU's profile) has a name that matches none."""

_BRANDS = re.compile(r"(?:(?:NVIDIA|AMD|Tesla|GeForce|Instinct) )*")
_TORCH: Mapping[str, Dtype] = {"torch.bfloat16": "bf16", "torch.float16": "fp16"}
# torch.get_float32_matmul_precision() -> what a product of float32 matrices is computed in
_FLOAT32: Mapping[str, Dtype] = {"highest": "fp32", "high": "tf32", "medium": "bf16"}


def peak_flops(header: Mapping[str, Any]) -> float | None:
    """FLOP/s of the device that a ring's header names, in the precision it declares; None where either is not
    known."""
    name, dtype = header.get("gpu_name"), compute_dtype(header)
    return device_peak(name, dtype) if isinstance(name, str) and dtype is not None else None


@lru_cache(maxsize=64)
def device_peak(name: str, dtype: Dtype) -> float | None:
    """Dense FLOP/s; None for a device that is not in the table, and a dtype that it lacks."""
    bare = name[_BRANDS.match(name).end() :]  # type: ignore[union-attr] # it matches the empty text as well
    device = next((device for device in DEVICES if re.fullmatch(device.name, bare)), None)
    teraflops: float | None = None if device is None else getattr(device, dtype)
    return None if teraflops is None else teraflops * 1e12


def compute_dtype(header: Mapping[str, Any]) -> Dtype | None:
    """In which precision a job multiplies matrices: autocast's, else the Trainer's, else its parameters' own."""
    precision = _mapping(header, "precision")
    arguments = _mapping(_mapping(header, "effective"), "arguments")
    autocast = _TORCH.get(str(precision.get("autocast")))
    asked: Dtype | None = "bf16" if arguments.get("bf16") is True else None
    if arguments.get("fp16") is True:
        asked = "fp16"
    parameters = str(precision.get("parameters"))
    return autocast or asked or _TORCH.get(parameters) or _float32(parameters, precision, arguments)


def _float32(parameters: str, precision: Mapping[str, Any], arguments: Mapping[str, Any]) -> Dtype | None:
    if parameters != "torch.float32":
        return None
    return "tf32" if arguments.get("tf32") is True else _FLOAT32.get(str(precision.get("float32_matmul")))


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}
