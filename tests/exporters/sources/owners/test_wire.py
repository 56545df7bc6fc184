from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import podresources
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.owners import kubelet
from paceline_exporters.sources.owners.wire import Schema, WireError, decode, text

PROTO = Path(__file__).parents[4] / "../shared/proto/podresources_v1.proto"
WORDS = st.text(max_size=8)
DEVICES = st.fixed_dictionaries(
    {
        "resource_name": WORDS,
        "device_ids": st.lists(WORDS, max_size=3),
        "topology": st.builds(lambda node: {"nodes": [{"ID": node}]}, st.integers(-1, 2**62)),
    }
)
CLAIMS = st.fixed_dictionaries(
    {
        "claim_name": WORDS,
        "claim_resources": st.lists(
            st.fixed_dictionaries(
                {
                    "cdi_devices": st.lists(st.fixed_dictionaries({"name": WORDS}), max_size=2),
                    "driver_name": WORDS,
                    "device_name": WORDS,
                    "share_id": WORDS,
                }
            ),
            max_size=2,
        ),
    }
)
PODS = st.lists(
    st.fixed_dictionaries(
        {
            "name": WORDS,
            "namespace": WORDS,
            "cpu_ids": st.lists(st.integers(0, 512), max_size=4),
            "containers": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": WORDS,
                        "devices": st.lists(DEVICES, max_size=2),
                        "memory": st.just([{"memory_type": "memory", "size": 2**63}]),
                        "dynamic_resources": st.lists(CLAIMS, max_size=2),
                    }
                ),
                max_size=2,
            ),
        }
    ),
    max_size=3,
)


def same(found: dict[str, list[Any]], schema: Schema, message: Any) -> None:
    """What was decoded is what the protobuf package holds, field by field."""
    for name, inner in schema.values():
        value = getattr(message, name)
        if inner is not None:
            assert len(found[name]) == len(value)
            for one, other in zip(found[name], value, strict=True):
                same(one, inner, other)
        elif isinstance(value, str):
            assert text(found, name) == value
        else:
            assert found[name] == list(value)


@given(PODS)
def test_reads_what_the_protobuf_package_writes(pods: list[dict[str, Any]]) -> None:
    message = podresources.message("ListPodResourcesResponse", pod_resources=pods)
    same(decode(message.SerializeToString(), kubelet.LIST), kubelet.LIST, message)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode(data, kubelet.LIST)
    except WireError:
        return


@pytest.mark.parametrize(
    "data",
    [b"\x0a\x05ab", b"\x0a", b"\xff" * 11, b"\x0b", b"\x09\x00", b"\x08"],
    ids=["short body", "no length", "endless number", "group", "short fixed", "no number"],
)
def test_what_is_cut_or_odd_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data, kubelet.LIST)


def test_unknown_fields_of_every_kind_are_skipped() -> None:
    unknown = b"\x78\x96\x01" + b"\x7a\x02hi" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)  # number 15
    inner = unknown + b"\x0a\x01p" + unknown
    data = unknown + bytes([0x0A, len(inner)]) + inner
    assert text(decode(data, kubelet.LIST)["pod_resources"][0], "name") == "p"


def test_a_known_number_of_another_kind_is_skipped_as_protobuf_does() -> None:
    assert decode(b"\x08\x01", kubelet.LIST) == {"pod_resources": []}


def test_the_last_of_several_values_counts() -> None:
    assert text(decode(b"\x0a\x01a\x0a\x01b", {1: ("name", None)}), "name") == "b"


def test_the_messages_are_kubernetes_own() -> None:
    if not PROTO.exists():
        pytest.skip(f"the upstream definition is not beside this checkout: {PROTO.name}")
    source = re.sub(r"//.*", "", PROTO.read_text())
    upstream = {
        name: {
            int(number): (field, "*" * (label == "repeated") + kind)
            for label, kind, field, number in re.findall(r"(repeated|optional)?\s*(\w+) (\w+) = (\d+);", body)
        }
        for name, body in re.findall(r"message (\w+) \{(.*?)\}", source, re.DOTALL)
    }
    for name, fields in podresources.MESSAGES.items():
        ours = {int(n): (field, kind) for field, n, kind in map(str.split, filter(None, fields.split(", ")))}
        assert upstream[name] == ours, name
