from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paceline_exporters.attach.arguments import same

CONSTRUCTED = """
import dataclasses, json, sys
from dataclasses import dataclass, field
from transformers import HfArgumentParser, Seq2SeqTrainingArguments, TrainingArguments

OUT = sys.argv.pop(1)
seen = {}

def note(name, args):
    seen[name] = [args.learning_rate, args.gradient_accumulation_steps, str(args.lr_scheduler_type.value)]
    return args

given = dict(output_dir=OUT, use_cpu=True, learning_rate=0.5, gradient_accumulation_steps=1)
direct = note("direct", TrainingArguments(**given))
note("seq2seq", Seq2SeqTrainingArguments(**given))
parser = HfArgumentParser(TrainingArguments)
words = ["--output_dir", OUT, "--use_cpu", "True", "--learning_rate", "0.5"]
note("parser", parser.parse_args_into_dataclasses(words)[0])
note("parse_dict", parser.parse_dict(given)[0])

@dataclass
class Derived(TrainingArguments):
    doubled: float = field(default=0.0)
    def __post_init__(self):
        self.doubled = self.learning_rate * 2
        super().__post_init__()

seen["derived"] = note("subclass", Derived(**given)).doubled

class Mixin:
    def __post_init__(self):
        self.tripled = self.learning_rate * 3
        super().__post_init__()

@dataclass
class Mixed(Mixin, TrainingArguments):
    pass

seen["mixed"] = note("mixin", Mixed(**given)).tripled
note("replaced", dataclasses.replace(direct, learning_rate=0.125))
note("replaced_other", dataclasses.replace(direct, weight_decay=0.5))
seen["left"] = [name for name in direct.__dict__ if "paceline" in name]
print("RESULT " + json.dumps(seen))
"""


def test_values_go_in_however_the_arguments_are_made(attached: Callable[..., Any], proposal: Any) -> None:
    proposed = {"learning_rate": 0.001, "gradient_accumulation_steps": 3, "lr_scheduler_type": "cosine"}
    told = attached(CONSTRUCTED, proposal=proposal(arguments=proposed))
    assert told.status == 0, told.output
    seen = told.printed()
    values = [0.001, 3, "cosine"]
    for way in ("direct", "seq2seq", "parser", "parse_dict", "subclass", "mixin", "replaced_other"):
        assert seen[way] == values, way
    assert seen["derived"] == 0.002  # derived from the proposal's value, not from the script's
    assert seen["mixed"] == 0.003
    assert seen["replaced"] == [0.125, 3, "cosine"]  # what the script chose to change is its own
    assert seen["left"] == []
    assert told.notices() == []


def test_without_a_proposal_the_class_is_not_touched(attached: Callable[..., Any]) -> None:
    script = (
        "from transformers import TrainingArguments\n"
        "assert not hasattr(TrainingArguments.__post_init__, '__wrapped__')\n"
        "assert '__init_subclass__' not in TrainingArguments.__dict__\nprint('RESULT 1')\n"
    )
    assert attached(script).printed() == 1


MAKE = (
    "import sys\nfrom transformers import TrainingArguments\n"
    "try:\n    TrainingArguments(output_dir=sys.argv[1], use_cpu=True)\nexcept Exception:\n    print('hidden')\n"
    "print('went on')\n"
)


@pytest.mark.parametrize("where", ["arguments", "expects"])
def test_an_unknown_name_is_rejected_with_a_hint(attached: Callable[..., Any], proposal: Any, where: str) -> None:
    sections = (
        {"arguments": {"learning_rte": 0.1}}
        if where == "arguments"
        else {"expects": {"arguments": ["learning_rte"]}}
    )
    told = attached(MAKE, proposal=proposal(**sections))
    assert told.status == 78
    assert "hidden" not in told.output and "went on" not in told.output
    (notice,) = told.notices()
    assert "has no TrainingArguments field 'learning_rte'; did you mean learning_rate?" in notice
    (ring,) = told.rings
    assert ring.event("rejected").detail["code"] == "unknown_name"


@pytest.mark.parametrize("text", ["{not json", "/no/such/file.json", '{"study": "s"}', "[]"])
def test_an_unreadable_proposal_is_rejected_and_says_so(attached: Callable[..., Any], text: str) -> None:
    told = attached(MAKE, proposal=text)
    assert told.status == 78
    (notice,) = told.notices()
    assert "the proposal in PACELINE_PROPOSAL cannot be read" in notice
    (ring,) = told.rings
    assert ring.event("rejected").detail["code"] == "unreadable"


def test_a_proposal_may_be_a_file(attached: Callable[..., Any], proposal: Any, tmp_path: Any) -> None:
    import json

    (tmp_path / "proposal.json").write_text(json.dumps(proposal(arguments={"seed": 9})))
    script = (
        "import sys\nfrom transformers import TrainingArguments\n"
        "print('RESULT', TrainingArguments(output_dir=sys.argv[1], use_cpu=True).seed)\n"
    )
    assert attached(script, proposal=str(tmp_path / "proposal.json")).printed() == 9


@pytest.mark.parametrize(
    ("wanted", "actual", "equal"),
    [
        (1, 1.0, True),
        (1e-5, 0.00001, True),
        (True, 1, False),
        (0, False, False),
        ("none", [], True),
        ("wandb", ["wandb"], True),
        (["a", "b"], ["a", "b"], True),
        (None, None, True),
        (None, 25, False),
        ({"min_lr": 0.1}, {"min_lr": 0.1}, True),
        ("cosine", "linear", False),
    ],
)
def test_same(wanted: Any, actual: Any, equal: bool) -> None:
    assert same(wanted, actual) is equal
