from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline_agent.settings import Settings, SettingsError, duration, is_loopback, split_address
from paceline_exporters.sources.contract import World


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:19470", ("127.0.0.1", 19470)),
        (":0", ("", 0)),
        ("[::1]:80", ("::1", 80)),
        ("node:1", ("node", 1)),
    ],
)
def test_split_address(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "19470", "host:", "host:many", "host:70000"])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(SettingsError, match=r"--web\.listen-address"):
        Settings(listen_address=address)


@pytest.mark.parametrize(
    "url", ["tuner", "ftp://tuner", "http://", "http://tuner:port", "http://[x", "http://a b:80"]
)
def test_bad_tuner_urls(url: str) -> None:
    with pytest.raises(SettingsError, match=r"--tuner\.url"):
        Settings(tuner_url=url)


@pytest.mark.parametrize("root", ["procfs", "sysfs", "rootfs"])
def test_roots_must_exist(tmp_path: Path, root: str) -> None:
    with pytest.raises(SettingsError, match=rf"^--path\.{root}: .* is not a directory$"):
        Settings(world=World(**{root: tmp_path / "missing"}))


@pytest.mark.parametrize("node", ["", " "])
def test_a_node_has_a_name(node: str) -> None:
    with pytest.raises(SettingsError, match="--node: expected a name"):
        Settings(world=World(node=node))


def test_all_that_is_wrong_is_told() -> None:
    with pytest.raises(SettingsError) as told:
        Settings(listen_address="foo", series_per_source=0, world=World(node=""))
    flags = [complaint.partition(": ")[0] for complaint in told.value.args]
    assert flags == ["--web.listen-address", "--limits.series", "--node"]
    assert str(told.value) == "; ".join(told.value.args)


def test_a_ring_directory_may_be_missing_but_no_file(tmp_path: Path) -> None:
    Settings(world=World(rings=tmp_path / "missing"))
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"--rings\.directory"):
        Settings(world=World(rings=tmp_path / "file"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("2d", 172800)]
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1s", "1w", "1h30m"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


def test_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.3.2.1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "10.0.0.1", "::", "127.example.com", "127.1.2.3.4")))


@pytest.mark.parametrize(
    ("told", "needed"),
    [
        ({}, False),
        ({"tuner_url": "http://tuner:1"}, False),
        ({"tuner_url": "HTTPS://tuner"}, True),
        ({"web_config_file": Path("web.yml")}, True),
    ],
)
def test_tls_is_needed_where_something_may_be_encrypted(told: dict[str, Any], needed: bool) -> None:
    assert Settings(**told).needs_tls == needed
