from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_exporters.messages import (
    Acknowledgement,
    Event,
    Harness,
    MessageError,
    Outcome,
    Proposal,
    Report,
    RingMark,
    RingReport,
    Window,
    canonical,
    finite_or_none,
)

RING = RingReport(
    ring="ab" * 16,
    run_id="r",
    rank=1,
    world_size=2,
    attempt=0,
    node="n",
    alive=True,
    generation=3,
    header={"rank": 1},
    events=(Event(4, "nan", 1.5, 2.0, {"loss": "nan"}),),
    window=Window(10, 11, {"step": [11.0, None]}, {"cpu": 0.5}),
)
PROPOSAL = Proposal(
    study="s",
    trial=3,
    run_id="r",
    kind="trial",
    arguments={"learning_rate": 1e-4},
    ddp={"bucket_cap_mb": None},
    env={"NCCL_ALGO": "Ring"},
    placeholders={"micro": 2},
    harness=Harness("/runs/1", 40, 7, True),
)
EXAMPLES: list[tuple[Any, Any]] = [
    (Report, Report("run", "n", (RING,))),
    (Proposal, PROPOSAL),
    (Acknowledgement, Acknowledgement({"ab": RingMark(5, 2, 1, True)})),
    (Outcome, Outcome("failed", "oom", "no memory", 1, {"eval_loss": 2.0}, "")),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**300, 10**320) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(("cls", "message"), EXAMPLES)
def test_what_is_encoded_is_decoded(cls: Any, message: Any) -> None:
    assert cls.decode(json.loads(json.dumps(message.encode(), allow_nan=False))) == message


@pytest.mark.parametrize(("cls", "message"), EXAMPLES)
def test_readers_skip_what_they_do_not_know(cls: Any, message: Any) -> None:
    assert cls.decode({**json.loads(json.dumps(message.encode())), "schema": 99, "new": [1]}) == message


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, inner in inside for path in paths(inner, (*here, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@settings(max_examples=400)
@given(data=st.data(), junk=JSON)
def test_junk_anywhere_is_a_message_error_or_taken(data: st.DataObject, junk: Any) -> None:
    cls, message = data.draw(st.sampled_from(EXAMPLES))
    encoded = json.loads(json.dumps(message.encode()))
    path = data.draw(st.sampled_from(paths(encoded)))
    try:
        cls.decode(replaced(encoded, path, junk))
    except MessageError as error:
        assert str(error)


@pytest.mark.parametrize("cls", [Report, Proposal, Acknowledgement, Outcome, Window, Event, RingReport])
@pytest.mark.parametrize("junk", [None, [], 1, "text", {}, {"rings": 1}])
def test_what_is_no_message_is_a_message_error(cls: Any, junk: Any) -> None:
    with pytest.raises(MessageError):
        cls.decode(junk)


def test_an_error_names_the_field_and_what_was_expected() -> None:
    with pytest.raises(MessageError, match="field 'rank': expected an integer, got 'one'"):
        RingReport.decode(
            {**json.loads(json.dumps(Report("run", "n", (RING,)).encode()))["rings"][0], "rank": "one"}
        )


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**400])
def test_integers_that_nothing_can_hold_are_refused(number: int) -> None:
    with pytest.raises(MessageError):
        Window.decode({"first": 0, "last": number, "columns": {}})
    with pytest.raises(MessageError):
        Window.decode({"first": 0, "last": 0, "columns": {"step": [number]}})


@pytest.mark.parametrize(
    "columns", [{"step": [1.0]}, {"step": [1.0, True]}, {"step": [1.0, "2"]}, {"step": {"0": 1.0, "1": 2.0}}]
)
def test_a_column_has_a_number_or_null_for_each_record(columns: Any) -> None:
    with pytest.raises(MessageError, match="column 'step'"):
        Window.decode({"first": 0, "last": 1, "columns": columns})


def test_a_flag_is_no_number() -> None:
    with pytest.raises(MessageError, match="expected an integer"):
        Event.decode({"number": True, "kind": "nan", "wall": 1.0})


def test_the_hash_is_of_the_configuration_only() -> None:
    other = Proposal(
        **{
            **{name: getattr(PROPOSAL, name) for name in Proposal.__dataclass_fields__},
            "run_id": "another",
            "trial": 9,
            "harness": None,
            "arguments": dict(reversed(list(PROPOSAL.arguments.items()))),
        }
    )
    assert other.hash == PROPOSAL.hash
    unset = Proposal("s", 3, "r", "trial", ddp={"bucket_cap_mb": None})
    assert unset.hash != Proposal("s", 3, "r", "trial").hash
    assert unset.hash != Proposal("s", 3, "r", "trial", ddp={"bucket_cap_mb": 25}).hash


def test_canonical_json_does_not_depend_on_order() -> None:
    assert (
        canonical({"b": [1, 2.5], "a": "ü"})
        == canonical({"a": "ü", "b": [1, 2.5]})
        == '{"a":"\\u00fc","b":[1,2.5]}'
    )


def test_what_is_not_finite_travels_as_null() -> None:
    assert [finite_or_none(value) for value in (1.0, float("nan"), float("inf"))] == [1.0, None, None]
