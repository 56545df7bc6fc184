from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.gpu.messages import Lines, parse

number = st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**64)
values = st.dictionaries(st.text(), number | st.dictionaries(st.text(), number))
messages = st.one_of(
    st.tuples(st.just("begin"), st.text(), st.text(), number),
    st.tuples(st.just("data"), st.text(), st.text(), number, values),
    st.tuples(st.just("lost"), st.text(), st.text()),
    st.tuples(st.just("xid"), st.text(), st.integers(0, 2**32), number),
    st.tuples(st.just("rest"), number, number, st.dictionaries(st.text(), number)),
    st.tuples(st.just("gone"), st.text()),
    st.tuples(st.just("topology"), values, st.lists(values), st.lists(st.text())),
).map(list)


@given(st.lists(messages), st.data())
def test_cut_anywhere_the_messages_are_the_same(sent: list[list[Any]], data: st.DataObject) -> None:
    stream = b"".join(json.dumps(message).encode() + b"\n" for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    lines, received = Lines(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += lines.feed(stream[start:end])
    assert received == sent


@given(st.lists(messages, min_size=1), st.data())
def test_a_child_killed_in_mid_line_costs_that_line_only(sent: list[list[Any]], data: st.DataObject) -> None:
    stream = b"".join(json.dumps(message).encode() + b"\n" for message in sent)
    end = data.draw(st.integers(0, len(stream)))
    assert Lines().feed(stream[:end]) == sent[: stream[:end].count(b"\n")]


@given(st.binary())
def test_no_bytes_raise(line: bytes) -> None:
    message = parse(line)
    assert message is None or isinstance(message[0], str)


@given(
    st.recursive(
        number | st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_has_another_shape_is_left_out(value: Any) -> None:
    message = parse(json.dumps(value).encode())
    assert message is None or message == value


def test_unknown_kinds_and_wrong_shapes_are_left_out() -> None:
    assert parse(b'["news",1]') is None
    assert parse(b'["begin","fast","GPU-1"]') is None
    assert parse(b'["begin","fast","GPU-1","now"]') is None
    assert parse(b"[" * 100_000) is None


def test_an_endless_line_is_thrown_away() -> None:
    lines = Lines()
    for _ in range(9):
        assert lines.feed(b"x" * 2**20) == []
    assert len(lines._rest) <= 2**22
    assert lines.feed(b'\n["gone","why"]\n') == [["gone", "why"]]
