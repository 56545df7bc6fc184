from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

RANK = textwrap.dedent("""
    import json, os, sys
    import torch.distributed as dist
    from datetime import timedelta
    from paceline_exporters.attach import agreement, session
    from paceline_exporters.attach.stop import Rejected

    rank, store, own, binding, timeout = sys.argv[1:]
    agreement.TIMEOUT = timedelta(seconds=float(timeout))
    dist.init_process_group("gloo", init_method="file://" + store, rank=int(rank), world_size=2)
    try:
        agreement.agree("0/arguments", json.loads(own), int(rank), 2, binding == "1")
        answer = "agreed"
    except Rejected as rejected:
        answer = rejected.reason
    print("RESULT " + json.dumps([answer, session.run_id()]))
    sys.stdout.flush()
    dist.barrier()
    os._exit(0)  # gloo's own teardown aborts or hangs now and then
""")


def ranks(directory: Path, *own: Any, binding: str = "11", timeout: float = 30) -> list[list[str]]:
    """What each of two ranks hears."""
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                RANK,
                str(rank),
                str(directory / "store"),
                json.dumps(one),
                binding[rank],
                str(timeout),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, one in enumerate(own)
    ]
    heard = [process.communicate(timeout=120)[0] for process in processes]
    return [json.loads(text.partition("RESULT ")[2].splitlines()[0]) for text in heard]


def test_equal_ranks_agree_and_share_a_run(tmp_path: Path) -> None:
    first, second = ranks(tmp_path, {"learning_rate": 0.1}, {"learning_rate": 0.1})
    assert first[0] == second[0] == "agreed"
    assert first[1] == second[1]
    assert first[1].startswith("run-")


def test_a_difference_is_named_on_both(tmp_path: Path) -> None:
    first, second = ranks(tmp_path, {"a": 1, "b": 2}, {"a": 1, "b": 3})
    advice = "give every node the same proposal and the same code"
    assert first[0] == f"ranks differ in b: 2 on rank 0, 3 on rank 1; {advice}"
    assert second[0] == f"ranks differ in b: 3 on rank 1, 2 on rank 0; {advice}"


def test_a_rank_without_a_proposal_never_waits_and_is_still_found(tmp_path: Path) -> None:
    first, second = ranks(tmp_path, {"proposal": "abc"}, {"proposal": "none"}, binding="10")
    assert first[0].startswith("ranks differ in proposal: 'abc' on rank 0, 'none' on rank 1")
    assert second[0] == "agreed"


def test_without_a_process_group_there_is_nobody_to_ask() -> None:
    script = (
        "from paceline_exporters.attach import agreement, session\n"
        "agreement.agree('x', {}, 0, 2, True)\n"
        "assert agreement.default_store() is None and session.run_id().startswith('run-')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
