from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paceline_agent.doctor.rings import examine
from paceline_agent.doctor.visit import Visit


def test_a_directory_that_the_first_run_will_make(visit: Callable[..., Visit]) -> None:
    [found] = examine(visit())
    assert found.status == "absent"
    assert "the first run makes it" in found.seen


def test_live_and_ended_ranks(visit: Callable[..., Visit], trainer: Any) -> None:
    one = visit()
    trainer(rank=0).kill()
    trainer(rank=1)
    [found] = examine(one)
    assert found.status == "ok"
    assert f"{one.world.rings}: 2 rings, 1 of live ranks" in found.seen


def test_a_directory_of_one_user(visit: Callable[..., Visit]) -> None:
    one = visit()
    one.world.rings.mkdir(mode=0o755)
    [found] = examine(one)
    assert (found.status, found.why) == ("limited", "its mode is 0755: other users' training cannot write there")
    assert found.fix.startswith("install -d -m 3777 -o 990 -g ") and found.fix.endswith(str(one.world.rings))


def test_a_file_in_its_place(visit: Callable[..., Visit]) -> None:
    one = visit()
    one.world.rings.touch()
    [found] = examine(one)
    assert (found.status, found.why) == ("broken", f"{one.world.rings} is not a directory")
    assert found.fix == "set --rings.directory to a directory"
