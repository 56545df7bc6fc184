"""A configuration as TrainingArguments JSON."""

from __future__ import annotations

import json

from paceline_tuner.study.compose import Configuration

from .job import as_job


def as_arguments_json(configuration: Configuration) -> str:
    """TrainingArguments fields as a JSON object, for HfArgumentParser's parse_json_file or a script's own use.

    What no field can say is left out; `as_flags` has the notes about it.
    """
    return json.dumps(as_job(configuration).arguments, indent=2, sort_keys=True)
