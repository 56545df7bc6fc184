"""Answers on their way: sent within a time, and few at once that a client has not taken."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from .settings import Limits


@dataclass(eq=False)
class Answer:
    """One that is not sent to its end."""

    peer: str
    """Address of the client."""
    speaker: asyncio.BaseProtocol
    dropped: bool = False

    def drop(self) -> None:
        """Let go of the client and of what waits for it."""
        self.dropped = True
        transport = getattr(self.speaker, "transport", None)  # None once it is closed
        if transport is not None:
            transport.abort()


class Answers:
    """Making an answer takes a moment; one that is not taken stays in memory, and is all that a client can make
    grow. So these are bounded, in all and for each address, by dropping the one that has waited longest: nobody
    who reads is refused for those who do not."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._unfinished: list[Answer] = []
        """The oldest first."""

    async def send(self, request: web.Request, response: web.StreamResponse) -> bool:
        """Whether the client took all of it."""
        answer = Answer(request.remote or "", request.protocol)
        self._unfinished.append(answer)
        self._drop_oldest(answer.peer)
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            answer.drop()
        except ConnectionError:  # it went
            return False
        finally:
            self._unfinished.remove(answer)
        return not answer.dropped

    def _drop_oldest(self, peer: str) -> None:
        waiting = [answer for answer in self._unfinished if not answer.dropped]
        of_peer = [answer for answer in waiting if answer.peer == peer]
        if len(of_peer) > self._limits.unfinished_answers_of_peer:
            of_peer[0].drop()
        elif len(waiting) > self._limits.unfinished_answers:
            waiting[0].drop()
