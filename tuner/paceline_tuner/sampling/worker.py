"""The sampler's process: one JSON line in, one JSON line out, nothing kept that cannot be made again.

    {"id", "op": "suggest" | "importance", "study", "spec"?, "known"?, "finished": [...], "running": {...}}
    {"id", "params" | "importance", "note"} or {"id", "error"}

A message with `spec` starts the study anew. The process ends when its input does.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import optuna

from paceline_tuner.sampling.search import Finished, Search
from paceline_tuner.study.codec import spec_from_json

logger = logging.getLogger(__name__)


def answer(searches: dict[str, Search], message: dict[str, Any]) -> dict[str, Any]:
    """The reply to one message; `searches` are the studies in memory."""
    study = message["study"]
    if "spec" in message:
        searches[study] = Search(spec_from_json(message["spec"]), message["known"])
    search = searches[study]
    finished = [Finished(*item) for item in message["finished"]]
    if message["op"] == "importance":
        return {"importance": search.importance(finished), "note": search.note}
    running = {int(number): params for number, params in message["running"].items()}
    return {"params": search.suggest(finished, running), "note": search.note}


def serve(lines: Iterator[str], out: TextIO) -> None:
    """Answer each line until there is none."""
    searches: dict[str, Search] = {}
    for line in lines:
        message = json.loads(line)
        try:
            reply = answer(searches, message)
        except Exception as error:  # a sampler's fault must reach the service, not end the process
            logger.exception("study %s", message["study"])
            searches.pop(message["study"], None)
            reply = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps({"id": message["id"], **reply}) + "\n")
        out.flush()


def main() -> None:
    """Speak over standard input and output; whatever libraries print goes to standard error."""
    logging.basicConfig(stream=sys.stderr, format="sampler: %(levelname)s %(message)s")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        serve(iter(sys.stdin.readline, ""), out)


if __name__ == "__main__":
    main()
