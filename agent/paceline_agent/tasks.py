"""Every task of the agent is born here: it has a name, and when it dies the agent ends with an error.

Why not restart it: what a task expects to go wrong it handles itself, so that a task which dies is a bug, and
the process's supervisor (kubelet, systemd) gives it a clean start; an agent that ran on with a part missing
would lie.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class TaskDied(RuntimeError):
    """A task that should run for ever ended; the cause is chained. Restart the agent and report it."""


class Tasks:
    """The agent's endless tasks."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []
        self._dead: asyncio.Future[TaskDied] = asyncio.get_running_loop().create_future()

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run `coroutine` until `stop`."""
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    async def died(self) -> TaskDied:
        """Waits for the first death."""
        return await asyncio.shield(self._dead)

    async def stop(self) -> None:
        """Cancel all, newest first, and wait for them."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._dead.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or self._dead.done():
            return
        died = TaskDied(f"the task {task.get_name()!r} died: {task.exception() or 'it returned'}")
        died.__cause__ = task.exception()
        self._dead.set_result(died)
