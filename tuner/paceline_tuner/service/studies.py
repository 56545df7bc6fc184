"""Studies are made once and named for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select

from paceline_exporters.messages import canonical, require
from paceline_tuner.study.codec import spec_from_json, spec_to_json
from paceline_tuner.study.spec import StudySpec

from .errors import Conflict
from .tables import TENANT, studies
from .views import study_view
from .work import Work


def decode(data: Mapping[str, Any]) -> StudySpec:
    """POST /v1/studies; raises MessageError and StudyError."""
    return spec_from_json(require(data, "spec", dict))


def create(work: Work, spec: StudySpec) -> tuple[bool, dict[str, Any]]:
    """Whether the study is new, and the study; Conflict when the name stands for another one."""
    text = canonical(spec_to_json(spec))
    query = select(studies.c.spec).where(studies.c.tenant == TENANT, studies.c.name == spec.name)
    known = work.connection.execute(query).scalar_one_or_none()
    if known is not None and known != text:
        raise Conflict(
            f"there is another study named {spec.name}, with other contents: give this one a new name; "
            "measurements of different studies are never mixed"
        )
    if known is None:
        work.connection.execute(
            insert(studies).values(
                name=spec.name, spec=text, state="search", reason="the search goes on", created_at=work.now
            )
        )
        work.log(
            work.study(spec.name), "created", f"study {spec.name} with a budget of {spec.budget.trials} trials"
        )
    return known is None, study_view(work, spec.name, with_trials=False)
