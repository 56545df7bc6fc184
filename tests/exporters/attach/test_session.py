from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach.session import plain

ASK = "from _paceline_attach import session\nsession.event('checkpoint')\nprint('RESULT 1')\n"
Job = Callable[..., Any]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PACELINE_RUN_ID": "given", "SLURM_JOB_ID": "7"}, "given"),
        ({"SLURM_JOB_ID": "7"}, "slurm-7-0"),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "3"}, "slurm-7-3"),
        ({"TORCHELASTIC_RUN_ID": "none", "PACELINE_SUPERVISOR": "0123456789abcdef"}, "run-0123456789ab"),
    ],
)
def test_a_run_is_named_by_whoever_knows_it_best(
    attached: Job, environment: dict[str, str], expected: str
) -> None:
    (ring,) = attached(ASK, environment=environment).rings
    assert ring.header["run_id"] == expected


def test_restarts_are_attempts_of_one_run(attached: Job) -> None:
    for count in ("0", "1"):
        told = attached(ASK, environment={"PACELINE_SUPERVISOR": "abc", "TORCHELASTIC_RESTART_COUNT": count})
    assert [ring.header["attempt"] for ring in told.rings] == [0, 1]
    assert len({ring.header["run_id"] for ring in told.rings}) == 1


def test_a_proposals_identity_stands_in_the_header(attached: Job, proposal: Any) -> None:
    given = proposal(arguments={"seed": 1}, trial=4, hash="abc", token="not for everyone")
    (ring,) = attached(ASK, proposal=given, environment={"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}).rings
    header = ring.header
    assert (header["run_id"], header["study"], header["trial"], header["kind"]) == (
        "run-of-a-trial",
        "s",
        4,
        "trial",
    )
    assert (header["rank"], header["world_size"], header["local_rank"]) == (3, 8, 1)
    assert header["proposal"] == {"arguments": {"seed": 1}, "hash": "abc"}


def test_odd_ranks_are_the_default(attached: Job) -> None:
    (ring,) = attached(ASK, environment={"RANK": "x", "WORLD_SIZE": ""}).rings
    assert (ring.header["rank"], ring.header["world_size"]) == (0, 1)


def test_an_event_that_cannot_be_written_is_said_once(attached: Job) -> None:
    script = (
        "from _paceline_attach import session\n"
        "loop = {}\nloop['loop'] = loop\n"
        "for _ in range(3):\n    session.event('checkpoint', detail=loop)\n    session.describe(loop=loop)\n"
        "print('RESULT 1')\n"
    )
    told = attached(script)
    assert told.printed() == 1
    assert [line.split(" failed")[0] for line in told.notices()] == [
        "paceline: recording an event",
        "paceline: describing the run",
    ]


def test_a_closed_standard_error_is_no_matter(attached: Job) -> None:
    command = ["sh", "-c", 'exec "$0" "$@" 2>&-', "python3"]
    script = "from _paceline_attach import session\nsession.event('x')\nprint('RESULT 1')\n"
    assert attached(script, python=command, environment={"PACELINE_RING_DIR": "/proc/self"}).printed() == 1


class Kind(Enum):
    COSINE = "cosine"


def test_plain() -> None:
    assert plain({"kind": Kind.COSINE, "path": Path("/x"), "list": (1, 2.5, None)}) == {
        "kind": "cosine",
        "path": "/x",
        "list": [1, 2.5, None],
    }
