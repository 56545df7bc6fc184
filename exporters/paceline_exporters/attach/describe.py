"""Facts about the job for the ring's header: the device, the model's size, what the loop is set up with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from . import ddp, models
from .notice import failed


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
        **work(held, tokens),
    }


def _held(optimizer: Any) -> list[Any]:
    try:
        known = models.parameters(optimizer)
        model = ddp.latest() if len(ddp.constructed) == 1 else None
        return known if model is None else list(model.parameters())
    except Exception as error:  # a module of the job's own may answer anything
        failed("looking for the model's parameters", error)
        return []


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
    """Number of parameters, and FLOPs per token; nothing where they are unknown or shards of a whole."""
    if not parameters or any(type(parameter).__name__ == "FlatParameter" for parameter in parameters):
        return {}
    count = sum(parameter.numel() for parameter in parameters)
    return {"parameters": count, **({"flops_per_token": flops_per_token(parameters)} if tokens else {})}


def flops_per_token(parameters: list[Any]) -> float:
    """2 per parameter for forward, 2 for its input's gradient, 2 for its own (Kaplan et al. 2020, section 2.1).

    A frozen parameter has no gradient of its own, and its input has none before the first parameter that trains:
    the parameters come in the order of forward, as a rule. Embeddings count like all others, though an input
    embedding multiplies nothing: a share that is large in small models only, and right where it is tied to the
    output's.
    """
    flops, flowing = 0.0, False
    for parameter in parameters:
        trains = parameter.requires_grad
        flowing = flowing or trains
        flops += (6.0 if trains else 4.0 if flowing else 2.0) * parameter.numel()
    return flops
