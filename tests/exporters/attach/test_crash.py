"""What a process says of its training's end, and what it cannot know of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

Job = Callable[..., Any]

pytestmark = pytest.mark.slow

BEGIN = """
import os, sys
import torch

def train(steps):
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        model(torch.randn(4, 8)).mean().backward()
        optimizer.step()
"""


def ends(told: Any) -> list[str]:
    return [event.detail["how"] for ring in told.rings for event in ring.events if event.kind == "end"]


ENDS = {
    "in order": ("train(3)\n", 0),
    "handled": ("try:\n    train(3)\n    raise ValueError('bad data')\nexcept ValueError:\n    sys.exit(3)\n", 3),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_leaves_it_to_its_status_whether_it_failed(attached: Job, how: str) -> None:
    script, status = ENDS[how]
    told = attached(BEGIN + script)
    assert told.status == status, told.output
    (ring,) = told.rings
    assert ring.kinds() == ["start", "first_step", "end"]
    assert (ring.event("end").detail, ring.event("end").step) == ({"how": "exit"}, 3.0)


def test_an_exception_is_told_though_the_job_replaced_the_hook(attached: Job) -> None:
    told = attached(BEGIN + "train(3)\nsys.excepthook = lambda *_: print('its own')\nraise KeyError('late')\n")
    assert (told.status, told.output) == (1, "its own\n")
    assert told.rings[0].event("exception").detail == {"type": "KeyError", "message": "'late'"}
    assert ends(told) == ["exception"]


PROCESSES = """
def returns():
    train(2)

def leaves():
    train(2)
    sys.exit(5)

def leaves_in_order():
    train(2)
    sys.exit()

def raises():
    train(2)
    raise ValueError("in a process")

def has_no_optimizer():
    model = torch.nn.Linear(8, 1)
    model(torch.randn(4, 8)).mean().backward()
    raise ValueError("in a process")

from multiprocessing import Process
for target in (returns, leaves, leaves_in_order, raises, has_no_optimizer):
    process = Process(target=target)
    process.start()
    process.join()
"""


def test_a_process_of_multiprocessings_own_tells_what_it_returned_with(attached: Job) -> None:
    told = attached(BEGIN + PROCESSES)
    assert told.status == 0, told.output
    assert ends(told) == ["finished", "exit", "finished", "exception", "exception"]


NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in (BEGIN, "train(2)", "train(2)\\nraise KeyError('in a cell')", "2 + 2", "train(3)", "train(1)"):
    shell.run_cell(cell)
"""


def test_each_cell_of_a_notebook_that_trains_is_an_end_of_its_own(attached: Job) -> None:
    pytest.importorskip("IPython")
    told = attached(f"BEGIN = {BEGIN!r}\n" + NOTEBOOK, environment={"IPYTHONDIR": os.devnull})
    assert told.status == 0, told.output
    (ring,) = told.rings
    assert [row["step"] for row in ring.steps] == list(range(1, 9))
    training = ["first_step", "end"]
    failed = ["first_step", "exception", "end"]
    assert ring.kinds() == ["start", *training, *failed, *training, *training]
    assert ends(told) == ["finished", "exception", "finished", "finished"]
    assert ring.event("exception").detail["type"] == "KeyError"
