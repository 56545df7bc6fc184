"""Which environment variables a proposal may set: an allow-list, since the environment can load code."""

from __future__ import annotations

ALLOWED_PREFIXES = ("NCCL_", "TORCH_NCCL_", "GLOO_", "UCX_", "FI_")
ALLOWED_NAMES = frozenset(
    (
        "CUDA_DEVICE_MAX_CONNECTIONS",
        "KMP_AFFINITY",
        "KMP_BLOCKTIME",
        "MALLOC_ARENA_MAX",
        "MKL_NUM_THREADS",
        "NVIDIA_TF32_OVERRIDE",
        "OMP_NUM_THREADS",
        "OMP_PROC_BIND",
        "PYTORCH_ALLOC_CONF",
        "PYTORCH_CUDA_ALLOC_CONF",
        "TOKENIZERS_PARALLELISM",
        "TORCH_CUDNN_V8_API_ENABLED",
    )
)
DENIED_SUFFIXES = ("_PLUGIN", "_FILE", "_PATH", "_DIR", "_LIB", "_LIBRARY")
"""Under an allowed prefix these still name a library to load or a file to write."""


def allowed(name: str) -> bool:
    """Whether a proposal may set the environment variable `name`."""
    if name in ALLOWED_NAMES:
        return True
    return name.startswith(ALLOWED_PREFIXES) and not name.endswith(DENIED_SUFFIXES)
