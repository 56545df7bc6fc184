"""What of a configuration a user's own TrainingArguments can express, and what they cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from paceline_tuner.study.compose import Configuration

DROPPED_CAP = 25
"""accelerate drops a bucket cap equal to its own default, which leaves torch's first bucket at 1 MiB."""
FIELDS: Mapping[str, Any] = {
    "bucket_cap_mb": None,
    "broadcast_buffers": True,
    "find_unused_parameters": False,
    "static_graph": False,
}
"""DDP keywords with a TrainingArguments field `ddp_KEYWORD` -> what the field must be for torch's default."""
ONLY_SUBMIT = "only `paceline submit` can apply it"


class Job(NamedTuple):
    """TrainingArguments fields, and a sentence for each thing that they cannot say."""

    arguments: dict[str, Any]
    notes: tuple[str, ...]


def as_job(configuration: Configuration) -> Job:
    """The configuration's arguments and DDP keywords as TrainingArguments fields."""
    expressible = {keyword: value for keyword, value in configuration.ddp.items() if _expressible(keyword, value)}
    fields = {f"ddp_{keyword}": FIELDS[keyword] if v is None else v for keyword, v in expressible.items()}
    return Job({**configuration.arguments, **fields}, tuple(_notes(configuration)))


def _expressible(keyword: str, value: Any) -> bool:
    return keyword in FIELDS and not (keyword == "bucket_cap_mb" and value == DROPPED_CAP)


def _notes(configuration: Configuration) -> Iterator[str]:
    for keyword, value in configuration.ddp.items():
        if keyword == "bucket_cap_mb" and value == DROPPED_CAP:
            yield f"DDP bucket_cap_mb = {value}: accelerate drops this value as its default; {ONLY_SUBMIT}"
        elif keyword not in FIELDS and value is not None:
            yield f"DDP {keyword} = {value}: there is no TrainingArguments field for it; {ONLY_SUBMIT}"
    for name, value in configuration.placeholders.items():
        yield f"write {value} where the study's command has {{{name}}}"
