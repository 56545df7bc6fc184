from __future__ import annotations

from collections.abc import Callable

import pytest

from paceline_agent.doctor import packages
from paceline_agent.doctor.packages import examine, needed
from paceline_agent.doctor.visit import Visit


def test_what_the_agent_needs_is_here(visit: Callable[..., Visit]) -> None:
    assert {"aiohttp", "psutil", "nvidia-ml-py"} <= set(needed())
    assert list(examine(visit())) == []


def test_what_is_missing_is_named(visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        'aiohttp>=3.11; extra == "agent"',
        "nobody-has_this>=1 ; extra == 'agent'",
        'also-not; extra == "tuner"',
    ]
    monkeypatch.setattr(packages, "requires", lambda _: lines)
    [found] = examine(visit())
    assert found.status == "broken"
    assert found.why.endswith(": nobody-has_this")
    assert found.fix == "pip install 'paceline[agent]'"
