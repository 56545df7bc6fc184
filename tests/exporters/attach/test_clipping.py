from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

Job = Callable[..., Any]

pytestmark = pytest.mark.slow

CLIPS = """
import json
import torch
from torch.nn import utils
model = torch.nn.Linear(8, 1)
parameters = list(model.parameters())
optimizer = torch.optim.SGD(parameters, lr=0.01)

def nothing():
    return None

def by_value():
    utils.clip_grad_value_(parameters, 0.1)

def by_value_from_its_module():
    utils.clip_grad.clip_grad_value_(parameters, 0.1)

def in_parts():
    norm = utils.get_total_norm([parameter.grad for parameter in parameters])
    utils.clip_grads_with_norm_(parameters, 0.1, norm)
    return norm.item()

def in_parts_by_name():
    norm = utils.get_total_norm([parameter.grad for parameter in parameters])
    utils.clip_grads_with_norm_(parameters, max_norm=0.1, total_norm=norm)
    return norm.item()

def at_once():
    return utils.clip_grad_norm_(parameters, 0.1).item()

norms = []
for clip in (nothing, nothing, nothing, by_value, by_value_from_its_module, in_parts, in_parts_by_name, at_once):
    model(torch.randn(4, 8)).mean().backward()
    norms.append(clip())
    optimizer.step()
    optimizer.zero_grad()
    utils.get_total_norm(parameters)  # between steps it clips nothing
print("RESULT " + json.dumps(norms))
"""


def test_clipping_is_told_however_it_is_asked_for(attached: Job) -> None:
    told = attached(CLIPS)
    assert told.status == 0, told.output
    assert told.notices() == []
    rows = told.rings[0].steps[2:]  # in the second a norm is taken that nobody asked for
    assert [row["clip_seconds"] > 0 for row in rows] == [False, *[True] * 5]
    assert all(row["clip_seconds"] <= row["other_seconds"] for row in rows)
    norms = [None if math.isnan(row["grad_norm"]) else row["grad_norm"] for row in rows]
    assert norms == pytest.approx(told.printed()[2:])
