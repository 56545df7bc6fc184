"""A proposal in a few words."""

from __future__ import annotations

import errno
from pathlib import Path

from paceline_tuner.submit.words import configuration, describe, settings, unwritable

PROPOSAL = {
    "kind": "trial",
    "trial": 3,
    "arguments": {"learning_rate": 0.001},
    "ddp": {"bucket_cap_mb": None},
    "env": {"NCCL_ALGO": "Ring"},
    "placeholders": {"micro": 4},
}


def test_every_section_is_named() -> None:
    assert settings(PROPOSAL) == {
        "learning_rate": 0.001,
        "ddp.bucket_cap_mb": None,
        "env.NCCL_ALGO": "Ring",
        "placeholder.micro": 4,
    }
    words = "learning_rate=0.001 ddp.bucket_cap_mb=unset env.NCCL_ALGO=Ring placeholder.micro=4"
    assert configuration(PROPOSAL) == words
    assert describe(PROPOSAL) == f"trial 3: {words}"
    assert describe({"kind": "pair", "trial": 0, "ddp": None}) == "pair run of trial 0: default"


def test_a_file_that_cannot_be_written_is_named() -> None:
    named = OSError(errno.ENOSPC, "No space left on device", "/study/runs")
    nameless = OSError(errno.ENOSPC, "No space left on device")  # as write() raises it
    for error, name in ((named, "/study/runs"), (nameless, "/study")):
        assert unwritable(error, Path("/study")) == (
            f"cannot write {name} (No space left on device): free its disk or allow writing, or give another "
            "--directory"
        )
