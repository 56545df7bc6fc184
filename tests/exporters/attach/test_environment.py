from __future__ import annotations

import pytest

from paceline_exporters.attach.environment import allowed


@pytest.mark.parametrize(
    "name",
    [
        "NCCL_BUFFSIZE",
        "NCCL_ALGO",
        "TORCH_NCCL_HIGH_PRIORITY",
        "GLOO_SOCKET_IFNAME",
        "UCX_TLS",
        "FI_PROVIDER",
        "OMP_NUM_THREADS",
    ],
)
def test_what_tunes_is_allowed(name: str) -> None:
    assert allowed(name)


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "PYTHONINSPECT",
        "PATH",
        "BASH_ENV",
        "NCCL_NET_PLUGIN",
        "NCCL_TUNER_PLUGIN",
        "NCCL_PROFILER_PLUGIN",
        "NCCL_CONF_FILE",
        "NCCL_DEBUG_FILE",
        "NCCL_GRAPH_DUMP_FILE",
        "UCX_MODULE_DIR",
        "FI_PROVIDER_PATH",
        "TORCH_NCCL_DEBUG_INFO_TEMP_FILE",
        "TORCH_NCCL_DEBUG_INFO_PIPE_FILE",
        "",
        "nccl_algo",
        "XNCCL_ALGO",
    ],
)
def test_what_loads_code_or_names_a_file_is_not(name: str) -> None:
    assert not allowed(name)
