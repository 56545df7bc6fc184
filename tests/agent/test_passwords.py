from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_agent.passwords import REMEMBERED, WAITING, Passwords, TooBusy, credentials

USERS = {b"prometheus": bcrypt.hashpw(b"right", bcrypt.gensalt(4)).replace(b"$2b$", b"$2y$")}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Checks:
    """Counts the real checks, and holds them up on request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashes: list[bytes] = []
        self.go = threading.Event()
        self.go.set()
        self._real = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self._check)

    def _check(self, password: bytes, hashed: bytes) -> bool:
        self.go.wait(60)
        self.hashes.append(hashed)
        return self._real(password, hashed)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    one = Checks(monkeypatch)
    yield one
    one.go.set()


async def test_only_the_right_password_of_the_right_user() -> None:
    passwords = Passwords()
    assert await passwords.admit(basic("prometheus", "right"), USERS)
    for header in (basic("prometheus", "wrong"), basic("nobody", "right"), basic("", ""), "", "Bearer x"):
        assert not await passwords.admit(header, USERS)


async def test_an_answer_is_remembered(checks: Checks) -> None:
    passwords = Passwords()
    for _ in range(3):
        assert await passwords.admit(basic("prometheus", "right"), USERS)
        assert not await passwords.admit(basic("prometheus", "wrong"), USERS)
    assert len(checks.hashes) == 2


async def test_a_new_hash_is_checked_anew(checks: Checks) -> None:
    passwords = Passwords()
    assert await passwords.admit(basic("prometheus", "right"), USERS)
    changed = {b"prometheus": bcrypt.hashpw(b"other", bcrypt.gensalt(4))}
    assert not await passwords.admit(basic("prometheus", "right"), changed)
    assert await passwords.admit(basic("prometheus", "other"), changed)


async def test_an_unknown_user_costs_a_check_of_the_dearest_hash(checks: Checks) -> None:
    dear = bcrypt.hashpw(b"x", bcrypt.gensalt(5))
    assert not await Passwords().admit(basic("nobody", "right"), {**USERS, b"dear": dear})
    assert checks.hashes == [dear]


async def test_who_guesses_displaces_no_right_answer(checks: Checks) -> None:
    passwords = Passwords()
    assert await passwords.admit(basic("prometheus", "right"), USERS)
    for guess in range(REMEMBERED + 10):
        assert not await passwords.admit(basic("prometheus", str(guess)), USERS)
    before = len(checks.hashes)
    assert await passwords.admit(basic("prometheus", "right"), USERS)
    assert len(checks.hashes) == before
    assert sum(len(known) for known in passwords._known.values()) == REMEMBERED + 1


async def test_checks_never_hold_up_the_loop_and_do_not_pile_up(checks: Checks) -> None:
    passwords = Passwords()
    assert await passwords.admit(basic("prometheus", "right"), USERS)
    checks.go.clear()
    waiting = [asyncio.create_task(passwords.admit(basic("prometheus", f"{n}"), USERS)) for n in range(WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooBusy):
        await passwords.admit(basic("prometheus", "one more"), USERS)
    assert await passwords.admit(basic("prometheus", "right"), USERS), "who is known does not wait"
    checks.go.set()
    assert await asyncio.gather(*waiting) == [False] * WAITING
    assert not await passwords.admit(basic("prometheus", "one more"), USERS)


async def test_the_same_password_at_once_is_checked_once(checks: Checks) -> None:
    passwords = Passwords()
    same = [passwords.admit(basic("prometheus", "right"), USERS) for _ in range(WAITING)]
    assert await asyncio.gather(*same) == [True] * WAITING
    assert len(checks.hashes) == 1


async def test_a_long_password_is_cut_as_others_cut_it() -> None:
    users = {b"a": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))}
    assert await Passwords().admit(basic("a", "x" * 100), users)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (basic("a", "b:c"), (b"a", b"b:c")),
        (basic("ä", "ö").replace("Basic", "basic"), ("ä".encode(), "ö".encode())),
        (basic("", ""), (b"", b"")),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic " + base64.b64encode(b"nocolon").decode(), None),
        ("Digest x", None),
    ],
)
def test_credentials(header: str, found: Any) -> None:
    assert credentials(header) == found


@given(st.text(), st.text())
def test_credentials_never_raise(scheme: str, rest: str) -> None:
    credentials(f"{scheme} {rest}")
    credentials(f"Basic {rest}")
