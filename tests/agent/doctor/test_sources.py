from __future__ import annotations

from collections.abc import Callable

import pytest

from paceline_agent.doctor.sampling import Sampled
from paceline_agent.doctor.sources import examine
from paceline_agent.doctor.visit import Visit


def test_all_are_well(visit: Callable[..., Visit]) -> None:
    [found] = examine(visit(sampled={"steps": Sampled(), "rails": Sampled()}))
    assert (found.status, found.seen) == ("ok", "2 sources, 0 series")


@pytest.mark.parametrize(
    ("problem", "fix"),
    [
        (PermissionError(13, "no", "/x"), "read what it names"),
        (TimeoutError("no sample within 2 s"), "hangs"),
        (FileNotFoundError(2, "no", "/x"), "--path.procfs"),
        (ValueError("odd"), "report it"),
    ],
)
def test_one_that_fails(visit: Callable[..., Visit], problem: Exception, fix: str) -> None:
    [found] = examine(visit(sampled={"mounts": Sampled(problem), "steps": Sampled(), "gpu": Sampled(problem)}))
    assert (found.status, found.seen) == ("limited", "mounts fails, 1 are well")
    assert found.why == f"{type(problem).__name__}: {problem}"
    assert fix in found.fix
