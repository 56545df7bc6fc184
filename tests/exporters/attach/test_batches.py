from __future__ import annotations

import math
from collections import UserDict
from typing import Any, NamedTuple

import pytest

from paceline_exporters.attach.batches import MOST_MASK, count
from paceline_exporters.attach.clock import clock


class Shaped:
    """As much of a tensor as counting needs."""

    def __init__(self, *shape: int, cpu: bool = True, dtype: str = "torch.float32") -> None:
        self.shape, self.dtype = shape, dtype
        self.is_cpu, self.is_cuda = cpu, not cpu

    def numel(self) -> int:
        return math.prod(self.shape)

    def sum(self) -> float:
        return self.numel() / 2


def ids(*shape: int) -> Shaped:
    return Shaped(*shape, dtype="torch.int64")


class Encoding(UserDict[str, Any]):
    """As transformers' tokenizers and collators return it."""


class Pair(NamedTuple):
    """A batch as a job may name it."""

    image: Any
    label: Any


@pytest.mark.parametrize(
    ("inputs", "counted"),
    [
        ({"input_ids": Shaped(4, 128)}, (4, 512, 512)),
        ({"input_ids": Shaped(4)}, (4, 4, 4)),
        ({"input_ids": Shaped(4, 128), "attention_mask": Shaped(4, 128)}, (4, 512, 256)),
        ({"input_ids": Shaped(4, 128), "attention_mask": Shaped(4, 128, cpu=False)}, (4, 512, None)),
        ({"input_ids": Shaped(4, 8), "attention_mask": Shaped(MOST_MASK + 1)}, (4, 32, None)),
        ({"labels": None, "pixel_values": Shaped(8, 3, 32, 32)}, (8, 0, None)),
        ([Shaped(8, 3), Shaped(8)], (8, 0, None)),
        ((Shaped(),), (0, 0, None)),
        ([Shaped(8, 3, 32, 32), ids(8)], (8, 0, None)),
        ([Shaped(8, 3, 32, 32)] * 3, (8, 0, None)),  # anchor, positive, negative
        (Pair(Shaped(8, 3), None), (8, 0, None)),
        ([Shaped(8, 3), Shaped(8, 3)], (8, 0, None)),
        ([Shaped(8, 50, 80), Shaped(31), ids(8), ids(8)], (8, 0, None)),  # all targets in a row
        ([ids(8), ids(8), Shaped(8)], (8, 0, None)),  # user, item, rating
        ([Shaped(), Shaped()], (0, 0, None)),
        # a tensor per sample
        ([Shaped(3, 8)] * 16, (16, 0, None)),
        ((Shaped(5, 3), Shaped(7, 3)), (2, 0, None)),
        ([ids(5), ids(5), ids(9)], (3, 0, None)),
        # a tensor alone, and tokens that nobody calls input_ids
        (Shaped(8, 3, 32, 32), (8, 0, None)),
        (Shaped(8, 3), (8, 0, None)),
        (Shaped(), (0, 0, None)),
        (ids(8), (8, 0, None)),
        (ids(4, 128), (4, 512, 512)),
        ([ids(4, 128)], (4, 512, 512)),
        ((ids(4, 128), ids(4, 128)), (4, 512, 512)),
        ([ids(4, 128), ids(4, 128), ids(4, 128)], (4, 512, 512)),
        ([ids(4, 128)] * 16, (16, 0, None)),
        (Encoding(input_ids=ids(4, 128)), (4, 512, 512)),
        ({"input_ids": Shaped()}, (0, 0, None)),
        ({"input_ids": [1, 2]}, (0, 0, None)),
        ([], (0, 0, None)),
        (None, (0, 0, None)),
        ({}, (0, 0, None)),
    ],
)
def test_count(inputs: Any, counted: tuple[int, int, float | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sampled", True)
    samples, tokens, real = count(inputs)
    assert (samples, tokens, None if math.isnan(real) else real) == counted


def test_a_mask_on_the_device_is_added_up_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sampled", True)
    monkeypatch.setattr(clock, "unpadded", [])
    count({"input_ids": Shaped(4, 128), "attention_mask": Shaped(4, 128, cpu=False)})
    count({"input_ids": Shaped(4, 128), "attention_mask": Shaped(MOST_MASK + 1, cpu=False)})
    assert clock.unpadded == [256]


def test_padding_is_looked_at_in_sampled_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sampled", False)
    assert math.isnan(count({"input_ids": Shaped(4, 128), "attention_mask": Shaped(4, 128)})[2])
