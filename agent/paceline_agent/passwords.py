"""Basic authentication against bcrypt hashes, without a cost for those who were let in before."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping

REMEMBERED = 256
"""Right answers, and wrong ones: apart, so that who guesses displaces nobody's right answer."""
WAITING = 8
"""Most passwords that wait to be checked, one after the other: a check is slow by design."""
BCRYPT_BYTES = 72
"""bcrypt looks at so many bytes of a password."""


class TooBusy(Exception):
    """Too many passwords wait to be checked; try again later."""


class Passwords:
    """Checks one password at a time, in a thread. An answer is remembered by a keyed digest, no password is."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def admit(self, authorization: str, users: Mapping[bytes, bytes]) -> bool:
        """Whether the header names one of the users and its password. A user that there is not takes as long as
        one that there is. Raises TooBusy."""
        found = credentials(authorization)
        if found is None:
            return False
        user, password = found
        hashed = users.get(user, max(users.values(), key=_cost))
        digest = self._digest(user, hashed, password)
        known = self._recall(digest)
        if known is None:
            known = await self._check(digest, hashed, password, user in users)
        return known

    async def _check(self, digest: bytes, hashed: bytes, password: bytes, is_user: bool) -> bool:
        import bcrypt

        if self._waiting >= WAITING:
            raise TooBusy
        self._waiting += 1
        try:
            async with self._turn:
                known = self._recall(digest)  # by who came just before
                if known is None:
                    right = await asyncio.to_thread(bcrypt.checkpw, password[:BCRYPT_BYTES], hashed)
                    known = right and is_user
                    self._remember(digest, known)
                return known
        finally:
            self._waiting -= 1

    def _digest(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def _recall(self, digest: bytes) -> bool | None:
        for answer, digests in self._known.items():
            if digest in digests:
                digests.move_to_end(digest)
                return answer
        return None

    def _remember(self, digest: bytes, answer: bool) -> None:
        digests = self._known[answer]
        digests[digest] = None
        if len(digests) > REMEMBERED:
            digests.popitem(last=False)


def credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of an Authorization header (RFC 7617); None when it holds none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon else None


def _cost(hashed: bytes) -> bytes:
    return hashed[4:6]
