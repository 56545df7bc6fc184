"""Which tuner is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline_tuner.client import TunerRefused
from paceline_tuner.study.codec import spec_to_json
from paceline_tuner.submit.find import DEFAULT_URL, own_or_given, study_directory, that_knows


def test_a_study_has_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert study_directory(None, "gpt2") == tmp_path / "paceline" / "gpt2"
    assert study_directory(Path("here"), "gpt2") == tmp_path / "here"


def test_the_one_that_is_named(tuner: Any, tmp_path: Path) -> None:
    with own_or_given(tuner.url + "/", tmp_path) as (client, private):
        assert (client.url, private) == (tuner.url, None)
    with that_knows(tuner.url + "/", tmp_path) as client:
        assert client.url == tuner.url
    for find in (own_or_given, that_knows):
        with pytest.raises(TunerRefused, match="expected a tuner's URL"), find("here:1", tmp_path):
            raise AssertionError("that is no URL")


def test_without_a_database_it_is_this_machines(tmp_path: Path) -> None:
    with that_knows(None, tmp_path) as client:
        assert client.url == DEFAULT_URL


def test_the_directorys_own_while_it_runs_and_when_it_does_not(job: Any, tmp_path: Path) -> None:
    spec = job.study()
    with own_or_given(None, tmp_path) as (tuner, private):
        assert private is not None
        tuner.create_study(spec_to_json(spec))
        with that_knows(None, tmp_path) as client:
            assert client.url == tuner.url, "a second tuner on one database would be refused"
        assert tuner.study(spec.name), "it was left running"
    with that_knows(None, tmp_path) as client:
        assert client.study(spec.name)["name"] == spec.name
