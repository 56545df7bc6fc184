"""What the node saw travels with the windows to the tuner."""

from __future__ import annotations

from typing import Any

import pytest
from played_runs import play
from ring_histories import Story


@pytest.mark.slow
async def test_windows_carry_what_the_node_saw(
    start_agent: Any, tuner: Any, trainer: Any, eventually: Any
) -> None:
    one = trainer(rank=0, world_size=1)
    start_agent(f"--tuner.url={tuner.url}")
    story, number = Story(1, ranks=1), 0

    def carried() -> bool:
        nonlocal number
        number += 1
        play([one], story, [number])
        windows = [ring.window for report in tuner.reports for ring in report.rings if ring.window is not None]
        return any("cpu_steal_ratio" in window.evidence for window in windows)

    await eventually(carried, "evidence in a window")
