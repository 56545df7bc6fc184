"""The service on a socket: startup, serve, shutdown."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from aiohttp import web

from .app import build_app
from .errors import StartError
from .service import Service
from .settings import Settings

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 3.0


class Server:
    """A service and its listening socket."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.service = Service(settings)
        self._runner = web.AppRunner(
            build_app(self.service), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, handle_signals=False
        )

    async def startup(self) -> str:
        """Open the database and listen; returns the URL; raises StartError."""
        await self.service.startup()
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        except OSError as error:
            await self.shutdown()
            address = f"{self._settings.host}:{self._settings.port}"
            raise StartError(
                f"cannot listen on {address} ({error.strerror}): stop what listens there, or give another "
                "--web.listen-address"
            ) from error
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def serve(self) -> int:
        """Until SIGTERM, SIGINT or the death of a task; returns the exit status."""
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        waits = [asyncio.create_task(event.wait()) for event in (asked, self.service.tasks.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return 1 if self.service.tasks.failed.is_set() else 0

    async def shutdown(self) -> None:
        """Finish what is being answered, then stop everything."""
        await self._runner.cleanup()
        await self.service.shutdown()


async def main(settings: Settings, announce: Callable[[str], object]) -> int:
    """Run a server until it is asked to end; `announce` is told its URL. Returns the exit status."""
    server = Server(settings)
    announce(await server.startup())
    try:
        return await server.serve()
    finally:
        await server.shutdown()
        logger.info("stopped; everything acknowledged is in %s", settings.database)
