"""The database: one file, one owner, one thread.

All work runs on a single dedicated thread, so that the event loop never waits for a disk and SQLite never sees
two writers. A lock file beside the database keeps a second tuner out; the kernel drops it with the process,
however that dies.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from .errors import StartError, TryAgain

T = TypeVar("T")

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON")
"""FULL: what was acknowledged survives a power cut, not only a killed process."""


class Database:
    """The tuner's SQLite file, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._lock: int | None = None
        self._engine: Engine | None = None

    async def open(self) -> None:
        """Lock and migrate the file; raises StartError with one line that says what to do."""
        await self.call(self._open)

    async def close(self) -> None:
        """Finish what is queued, then let go of file and lock."""
        await self.call(self._close)
        self._thread.shutdown()

    async def transact(self, function: Callable[[Connection], T]) -> T:
        """`function(connection)` in a transaction of its own; TryAgain when nothing could be stored."""
        return await self.call(functools.partial(self._transact, function))

    async def call(self, function: Callable[[], T]) -> T:
        """`function()` on the database's thread, outside any transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _transact(self, function: Callable[[Connection], T]) -> T:
        if self._engine is None:
            raise TryAgain("the database is not open: the service is starting or stopping, try again")
        try:
            with self._engine.begin() as connection:
                return function(connection)
        except DBAPIError as error:
            raise TryAgain(
                f"the database cannot be written ({error.orig}): free its disk, then try again"
            ) from error

    def _open(self) -> None:
        self._lock = _take(self.path)
        try:
            self._engine = connect(self.url)
            with self._engine.begin() as connection:
                migrate(connection)
        except DBAPIError as error:
            self._close()
            raise StartError(
                f"cannot write the database {self.path} ({error.orig}): free the disk or allow writing, or give "
                "another --database"
            ) from error

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _take(path: Path) -> int:
    """The descriptor that holds the lock on `path` for the process's life; raises StartError."""
    name = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StartError(
            f"cannot write {name} ({error.strerror}): make the directory writable, or give another --database"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StartError(
            f"another tuner (process {owner}) uses {path}: use that one, stop it, or give another --database"
        ) from error
    _sign(lock)
    return lock


def _sign(lock: int) -> None:
    """Leave our process id for the message of the next one; a full disk must not keep us from starting."""
    os.ftruncate(lock, 0)
    try:
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        return


def connect(url: str) -> Engine:
    """An engine whose transactions begin as writers, which with one thread never meet."""
    engine = create_engine(url, pool_size=1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy, not the driver, begins transactions
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def migrate(connection: Connection) -> None:
    """Bring the tables to the version that this code knows."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
