"""Facts about the job for the ring's header: the device, the model's size, what the loop is set up with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from . import ddp


def within(nested: Any, path: Iterable[str]) -> float:
    """A number inside nested mappings; NaN where it is missing."""
    for name in path:
        nested = nested.get(name) if isinstance(nested, dict) else None
    return float("nan") if nested is None else float(nested)


def device(cuda: bool) -> dict[str, Any]:
    """`gpu_uuid`, `gpu_name` and what a peak is looked up by; just `device` where training is not on CUDA."""
    if not cuda:
        return {"device": "cpu"}
    torch = sys.modules["torch"]
    index = torch.cuda.current_device()
    properties = torch.cuda.get_device_properties(index)
    facts = {
        "device": f"cuda:{index}",
        "gpu_uuid": gpu_uuid(
            os.environ.get("CUDA_VISIBLE_DEVICES", ""), index, getattr(properties, "uuid", None)
        ),
        "gpu_name": properties.name,
        "gpu_memory_bytes": properties.total_memory,
        "gpu_compute_capability": f"{properties.major}.{properties.minor}",
        "gpu_multiprocessors": properties.multi_processor_count,
    }
    return {name: value for name, value in facts.items() if value is not None}


def gpu_uuid(visible: str, index: int, uuid: Any) -> str | None:
    """As NVML names it: a MIG slice by what makes it visible, else "GPU-" and what torch knows."""
    names = [name.strip() for name in visible.split(",")]
    if index < len(names) and names[index].startswith("MIG-"):
        return names[index]
    return None if uuid is None else "GPU-" + str(uuid)


autocast: list[str] = []
"""The dtype of the job's first autocast, if there was one."""
loader: dict[str, Any] = {}
"""How the loader of the first training batch is set up."""


def loop(optimizer: Any, tokens: bool) -> dict[str, Any]:
    """What a loop of the job's own runs with; FLOPs per token only where its batches have tokens."""
    held = _held(optimizer)
    torch = sys.modules.get("torch")
    sharded = any(type(parameter).__name__ == "FlatParameter" for parameter in held)  # a part of an unknown whole
    return {
        "effective": {
            "ddp": ddp.constructed[-1] if ddp.constructed else {},
            "loader": loader,
            "optimizer": _optimizer(optimizer),
        },
        "precision": {
            "parameters": str(held[0].dtype) if held else None,
            "autocast": autocast[0] if autocast else None,
            "float32_matmul": torch.get_float32_matmul_precision() if torch is not None else None,
        },
        **({} if sharded or not held else work(held, tokens)),
    }


def _held(optimizer: Any) -> list[Any]:
    model = ddp.latest()
    if model is not None:
        return list(model.parameters())
    groups = [] if optimizer is None else optimizer.param_groups
    return [parameter for group in groups for parameter in group["params"]]


def _optimizer(optimizer: Any) -> dict[str, Any]:
    if optimizer is None:
        return {}
    group = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
    plain = (bool, int, float, str, tuple)
    return {
        "name": type(optimizer).__name__,
        **{name: value for name, value in group.items() if isinstance(value, plain)},
    }


def work(parameters: list[Any], tokens: bool = True) -> dict[str, float]:
    """Number of parameters, and FLOPs per token."""
    count = sum(parameter.numel() for parameter in parameters)
    # 6 FLOPs per parameter and token: forward 2, backward 4 (Kaplan et al. 2020, section 2.1)
    return {"parameters": count, **({"flops_per_token": 6.0 * count} if tokens else {})}
