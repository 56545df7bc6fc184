from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

WRAP = """
import json, os, sys, tempfile
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
layers = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(12)))
model = DistributedDataParallel(layers, **json.loads(sys.argv[2]))
for _ in range(3):
    model(torch.randn(2, 1024)).sum().backward()
data = model._get_ddp_logging_data()
sizes = data.get("rebuilt_bucket_sizes") or data["bucket_sizes"]
from _paceline_attach import ddp
print("RESULT " + json.dumps({
    "constructed": ddp.constructed,
    "sizes": [int(size) for size in str(sizes).split(",")],
    "find_unused_parameters": model.find_unused_parameters,
    "static_graph": model.static_graph,
    "gradient_as_bucket_view": model.gradient_as_bucket_view,
    "buckets": ddp.buckets(model),
}))
dist.destroy_process_group()
"""


def wrapped(attached: Callable[..., Any], proposal: Any, own: str = "{}", **ddp: Any) -> Any:
    told = attached(WRAP, own, proposal=proposal(ddp=ddp) if ddp else None)
    assert told.status == 0, told.output
    return told.printed()


def test_the_jobs_own_keywords_stay_without_a_proposal(attached: Callable[..., Any], proposal: Any) -> None:
    seen = wrapped(attached, proposal, '{"bucket_cap_mb": 5, "gradient_as_bucket_view": true}')
    (constructed,) = seen["constructed"]
    assert (
        constructed.items()
        >= {
            "bucket_cap_mb": 5,
            "find_unused_parameters": False,
            "static_graph": False,
            "gradient_as_bucket_view": True,
        }.items()
    )


def test_proposed_keywords_go_in_and_come_back(attached: Callable[..., Any], proposal: Any) -> None:
    seen = wrapped(
        attached,
        proposal,
        '{"bucket_cap_mb": 5}',
        bucket_cap_mb=9,
        static_graph=True,
        gradient_as_bucket_view=True,
        find_unused_parameters=False,
    )
    assert seen["constructed"][0]["bucket_cap_mb"] == 9
    assert (seen["static_graph"], seen["gradient_as_bucket_view"]) == (True, True)
    assert "bucket_sizes" in seen["buckets"]


def test_unset_buckets_are_not_those_of_25(attached: Callable[..., Any], proposal: Any) -> None:
    unset = wrapped(attached, proposal, '{"bucket_cap_mb": 5}', bucket_cap_mb=None)
    explicit = wrapped(attached, proposal, '{"bucket_cap_mb": 5}', bucket_cap_mb=25)
    assert (unset["constructed"][0]["bucket_cap_mb"], explicit["constructed"][0]["bucket_cap_mb"]) == (None, 25)
    assert unset["buckets"]["bucket_cap_bytes"] == explicit["buckets"]["bucket_cap_bytes"]  # tells nothing
    assert unset["sizes"] != explicit["sizes"]


def test_unset_is_torchs_own_default_for_every_keyword(attached: Callable[..., Any], proposal: Any) -> None:
    own = '{"gradient_as_bucket_view": true, "find_unused_parameters": true}'
    unset = dict.fromkeys(("gradient_as_bucket_view", "find_unused_parameters", "broadcast_buffers"))
    seen = wrapped(attached, proposal, own, **unset)
    assert (seen["gradient_as_bucket_view"], seen["find_unused_parameters"]) == (False, False)


@pytest.mark.parametrize("section", [{"ddp": {"bucket_cap": 1}}, {"expects": {"ddp": ["bucket_cap"]}}])
def test_an_unknown_keyword_is_rejected(attached: Callable[..., Any], proposal: Any, section: Any) -> None:
    told = attached(WRAP, "{}", proposal=proposal(**section))
    assert told.status == 78
    assert "this torch's DistributedDataParallel has no keyword 'bucket_cap'" in told.output
    (ring,) = told.rings
    assert ring.event("rejected").detail["code"] == "unknown_name"


def test_the_jobs_own_mistake_is_its_own(attached: Callable[..., Any]) -> None:
    told = attached(WRAP, '{"no_such_keyword": 1}')
    assert told.status == 1
    assert "TypeError" in told.output and "no_such_keyword" in told.output
    assert told.notices() == []


HEAD_FIRST = """
import os, sys, tempfile, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

class Slow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        time.sleep(0.03)
        return gradient

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.head, self.body = torch.nn.Linear(8, 1), torch.nn.Linear(8, 8)
    def forward(self, x):
        return self.head(Slow.apply(self.body(x)))

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
model = DistributedDataParallel(Model(), static_graph=sys.argv[2] == "static")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(6):
    optimizer.zero_grad()
    model(torch.randn(4, 8)).sum().backward()
    optimizer.step()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("graph", ["dynamic", "static"])
def test_the_gradient_that_comes_last_is_not_always_the_first_parameters(
    attached: Callable[..., Any], graph: str
) -> None:
    told = attached(HEAD_FIRST, graph)
    assert told.status == 0, told.output
    (ring,) = told.rings
    own = [row["backward_compute_seconds"] for row in ring.steps]
    assert all(math.isnan(seconds) for seconds in own[:2])  # until torch has told the order
    for row in ring.steps[3:]:
        assert 0.03 <= row["backward_compute_seconds"] <= row["backward_seconds"]
