from __future__ import annotations

import pytest

from paceline_agent.doctor.finding import Finding, count


@pytest.mark.parametrize("status", ["limited", "broken"])
@pytest.mark.parametrize(("why", "fix"), [("", ""), ("it is so", ""), ("", "do this")])
def test_a_complaint_says_why_and_what_to_do(status: str, why: str, fix: str) -> None:
    with pytest.raises(ValueError, match=f"gpu: {status}"):
        Finding("gpu", status, "one of 8", why, fix)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["ok", "absent"])
def test_what_is_fine_complains_of_nothing(status: str) -> None:
    assert not Finding("gpu", status, "8 GPUs").wanting  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gpu"):
        Finding("gpu", status, "8 GPUs", "it is so", "do this")  # type: ignore[arg-type]


def test_counts() -> None:
    assert [count(number, "device") for number in (0, 1, 2000)] == ["0 devices", "1 device", "2,000 devices"]
