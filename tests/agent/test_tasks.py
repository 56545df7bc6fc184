from __future__ import annotations

import asyncio

import pytest

from paceline_agent.tasks import Tasks


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise ValueError("worn out")


async def finish() -> None:
    pass


async def test_a_task_that_dies_is_named_with_its_cause() -> None:
    tasks = Tasks()
    tasks.start("steady", forever())
    tasks.start("tired", fail())
    died = await tasks.died()
    assert "'tired' died: worn out" in str(died)
    assert isinstance(died.__cause__, ValueError)
    await tasks.stop()


async def test_a_task_that_returns_is_dead_too() -> None:
    tasks = Tasks()
    tasks.start("short", finish())
    assert "'short' died: it returned" in str(await tasks.died())
    await tasks.stop()


async def test_stopping_is_no_death() -> None:
    tasks = Tasks()
    tasks.start("steady", forever())
    watcher = asyncio.ensure_future(tasks.died())
    await asyncio.sleep(0)
    await tasks.stop()
    with pytest.raises(asyncio.CancelledError):
        await watcher
