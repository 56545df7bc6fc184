"""A submitter in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_tuner.client import TunerClient
from paceline_tuner.study.codec import spec_to_json
from paceline_tuner.study.spec import StudySpec
from paceline_tuner.submit.local import LocalLauncher
from paceline_tuner.submit.loop import SubmitLoop, client_id

NOBODY = "http://127.0.0.1:9"
"""No agent."""


@pytest.fixture
def submitter(
    tmp_path: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., SubmitLoop]]:
    """Makes submitters of a study's directory, as `submitter(url, spec)`; what they say is in `.said`."""
    monkeypatch.setenv("PACELINE_RING_DIR", variables["PACELINE_RING_DIR"])
    made: list[SubmitLoop] = []

    def make(url: str, spec: StudySpec, agent: str = NOBODY, **fields: Any) -> SubmitLoop:
        tuner, root = TunerClient(url), tmp_path / "study"
        tuner.create_study(spec_to_json(spec))
        launcher = LocalLauncher(root, spec.command, tuner, agent, spec.env or {})
        said: list[str] = []
        loop = SubmitLoop(
            spec.name, tuner, launcher, client_id(root), spec.budget.parallel, said.append, **fields
        )
        loop.said = said  # type: ignore[attr-defined]
        made.append(loop)
        return loop

    yield make
    for loop in made:
        for run in loop.running.values():
            run.process.kill()
            run.process.communicate()
