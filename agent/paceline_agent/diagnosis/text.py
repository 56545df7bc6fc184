"""An explanation as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from paceline_exporters.diagnosis.endings import Ending
from paceline_exporters.diagnosis.evidence import MEANING
from paceline_exporters.diagnosis.explanation import Explanation
from paceline_exporters.diagnosis.findings import Finding

MOST_FINDINGS = 10
"""Of those that hold no more, the latest are shown."""
Standing = Literal["holds", "found"]
# Ending of a number's name -> how it is written. First match wins.
FORMATS = (
    ("_per_second", "{:.3g}/s"),
    ("_seconds", "{:.3g} s"),
    ("_share", "{:.1%}"),
    ("_ratio", "{:.1%}"),
    ("", "{:g}"),
)


def text(told: Explanation) -> str:
    """The whole answer."""
    tell = (_head, _verdict, _findings, _evidence, _events, _stacks, _missing)
    blocks = ["\n".join(map(printable, part(told))) for part in tell]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _head(told: Explanation) -> Iterator[str]:
    seen, nodes = len(told.ranks), len({one.node for one in told.ranks})
    steps = f"steps {told.steps[0]} to {told.steps[1]}" if told.steps else "no steps"
    attempt = f", attempt {told.attempt}" if told.attempt else ""
    yield (
        f"{told.run_id}: {told.verdict.kind.replace('_', ' ')} "
        f"({seen} of {told.world_size} ranks on {nodes} {'node' if nodes == 1 else 'nodes'}, {steps}{attempt}"
        f"{'' if told.alive else ', no rank lives'}{_lost(told)})"
    )


def _lost(told: Explanation) -> str:
    ranks = [one.rank for one in told.ranks if one.lost]
    return f", {_ranks(ranks)} ended without a word" if ranks else ""


def _verdict(told: Explanation) -> Iterator[str]:
    verdict = told.verdict
    yield verdict.summary
    if verdict.numbers:
        yield _numbers(verdict.numbers)
    yield f"What to do: {verdict.advice}"
    if verdict.knobs:
        yield f"Knobs: {', '.join(verdict.knobs)}"


def _findings(told: Explanation) -> Iterator[str]:
    now = list(told.verdict.findings)
    marks = {_mark(finding) for finding in now}
    past = [finding for finding in told.history if _mark(finding) not in marks]
    if now or past:
        yield "Findings"
    for finding in sorted(now, key=lambda one: -one.share):
        yield from _finding(finding, "holds")
    for finding in reversed(past[-MOST_FINDINGS:]):
        yield from _finding(finding, "found")
    if len(past) > MOST_FINDINGS:
        yield f"  and {len(past) - MOST_FINDINGS} earlier ones"


def _mark(finding: Finding) -> tuple[str, int | None, str, int]:
    # Whose link it is that became slow may be seen later only.
    rank = finding.rank if finding.kind == "straggler" else None
    return finding.kind, rank, finding.phase, finding.since_step


def _finding(finding: Finding, standing: Standing) -> Iterator[str]:
    where = "" if finding.rank is None else f" rank {finding.rank}"
    where += f" on {finding.node}" if finding.node else ""
    words = [f"{finding.kind}{where}"]
    words += [finding.phase] if finding.phase else []
    words += [f"cause {finding.cause.replace('_', ' ')}"] if finding.cause != "unknown" else []
    words += [f"since step {finding.since_step}, found at {finding.found_step}"]
    words += [f"{finding.share:.0%} of the step"] if finding.share else []
    yield f"  {standing}  {', '.join(words)}"
    if finding.numbers:
        yield f"         {_numbers(finding.numbers)}"


def _evidence(told: Explanation) -> Iterator[str]:
    """Ranks of one node share most of it: what all say alike is said once."""
    lines: dict[str, list[int]] = {}
    for rank, seen in sorted(told.evidence.items()):
        for name, value in seen.items():
            if value and name in MEANING:
                line = f"{_words(name)} {written(name, value)}: {MEANING[name]}"
                lines.setdefault(line, []).append(rank)
    if lines:
        yield "Evidence of the last seconds"
    for line, ranks in lines.items():
        yield f"  {_ranks(ranks)}, {line}"


def _events(told: Explanation) -> Iterator[str]:
    lines = [
        f"  rank {one.rank} on {one.node}, step {'unknown' if event.step is None else f'{event.step:g}'}: "
        + " ".join([event.kind, *(f"{key}={value}" for key, value in event.detail.items())])
        for one in told.ranks
        for event in one.events
    ]
    lines += [f"  rank {one.rank} on {one.node}: {Ending(one.step or 0)}" for one in told.ranks if one.lost]
    if lines:
        yield "Events"
    yield from lines


def _stacks(told: Explanation) -> Iterator[str]:
    if told.stacks:
        yield "While it stood still"
    for line in told.stacks:
        yield f"  {line}"


def _missing(told: Explanation) -> Iterator[str]:
    if told.missing:
        yield "What is not known"
    for sentence in told.missing:
        yield f"  {sentence}"


def _numbers(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{_words(name)} {written(name, value)}" for name, value in numbers.items())


def _words(name: str) -> str:
    for ending, _ in FORMATS[:4]:
        name = name.removesuffix(ending)
    return name.replace("_", " ")


def written(name: str, value: float) -> str:
    """A number in the unit that its name ends in."""
    return next(form for ending, form in FORMATS if name.endswith(ending)).format(value)


def printable(line: str) -> str:
    """Without control characters: names and messages come from anyone who can write a ring."""
    return "".join(character if character.isprintable() else "?" for character in line)


def _ranks(ranks: list[int]) -> str:
    """`rank 3`, `ranks 0-3, 6`."""
    spans: list[list[int]] = []
    for rank in ranks:
        if spans and spans[-1][1] == rank - 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    names = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
    return f"{'rank' if len(ranks) == 1 else 'ranks'} {names}"
