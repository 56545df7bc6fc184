"""A job's own loops in one process: plain torch, several optimizers, scalers, closures, notebooks, the API."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from paceline_exporters.attach import layout

Job = Callable[..., Any]
Row = dict[str, float]

pytestmark = pytest.mark.slow

BEGIN = """
import json, os, sys, time
import torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
data = TensorDataset(torch.randn(256, 8), torch.randn(256, 1))
mse = torch.nn.functional.mse_loss

def made(kind=torch.optim.SGD, **more):
    model = torch.nn.Linear(8, 1)
    return model, kind(model.parameters(), **{"lr": 0.1, **more})

def batches(number, size=8):
    return [batch for batch, _ in zip(DataLoader(data, batch_size=size), range(number))]
"""

PHASES = """
class Slow(TensorDataset):
    def __getitem__(self, index):
        time.sleep(0.002)
        return super().__getitem__(index)

model, optimizer = made(torch.optim.AdamW)
teacher = torch.nn.Linear(8, 1)
valid = DataLoader(data, batch_size=64)
slow = Slow(*data.tensors)
seen, lost = [], []
for number, (x, y) in enumerate(DataLoader(slow, batch_size=8)):
    teacher.eval()
    with torch.no_grad():
        teacher(x)
    time.sleep(0.01)
    loss = mse(model(x), y) / 2
    seen.append(loss.item())
    loss.backward()
    if number % 2 == 0:
        continue
    lost.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
    optimizer.step()
    optimizer.zero_grad()
    step = number // 2 + 1
    if step == 3:  # as most loops do it
        model.eval()
        with torch.no_grad():
            for x, y in valid:
                model(x)
                time.sleep(0.05)
        model.train()
    if step == 5:  # nobody says eval() or train()
        with torch.no_grad():
            for x, y in valid:
                model(x)
                time.sleep(0.05)
    if step == 7:  # no loader, and a checkpoint before train()
        model.eval()
        time.sleep(0.2)
        torch.save(model.state_dict(), sys.argv[1])
        model.train()
    if step == 9:  # gradients on, train() forgotten
        model.eval()
        for x, y in valid:
            model(x)
            time.sleep(0.05)
    if step == 11:
        torch.save({"model": model.state_dict()}, sys.argv[1])
        torch.save({"optimizer": optimizer.state_dict()}, sys.argv[1])
    if step == 13:
        break
print("RESULT " + json.dumps({"losses": seen, "norms": lost, "user": getattr(sys, "said", None)}))
"""
SECONDS = ("data_wait", "sync_wait", "forward", "backward", "optimizer", "other")


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory, run_attached: Job, attach_directory: Path) -> Any:
    directory = tmp_path_factory.mktemp("phases")
    own = directory / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys\nsys.said = __name__\n")
    path = os.pathsep.join([str(attach_directory / "path"), str(own)])
    told = run_attached(directory, BEGIN + PHASES, environment={"PYTHONPATH": path})
    assert told.status == 0, told.output
    assert told.notices() == []
    return told


@pytest.fixture(scope="module")
def rows(phases: Any) -> list[Row]:
    (ring,) = phases.rings
    return list(ring.steps)


def test_a_step_is_an_optimizers_step_of_all_its_passes(rows: list[Row]) -> None:
    assert [row["step"] for row in rows] == list(range(1, 14))
    assert {(row["micro_steps"], row["samples"], row["learning_rate"]) for row in rows} == {(2, 16, 0.1)}


def test_loss_and_grad_norm_are_the_jobs_own(rows: list[Row], phases: Any) -> None:
    printed = phases.printed()
    losses = [sum(pair) for pair in zip(printed["losses"][::2], printed["losses"][1::2], strict=True)]
    assert [row["loss"] for row in rows] == pytest.approx(losses)
    assert [row["grad_norm"] for row in rows] == pytest.approx(printed["norms"])
    assert printed["user"] == "sitecustomize"


def test_the_phases_add_up(rows: list[Row]) -> None:
    for row in rows:
        known = [row[name + "_seconds"] for name in SECONDS if not math.isnan(row[name + "_seconds"])]
        assert all(part >= 0 for part in known)
        assert sum(known) == pytest.approx(row["step_seconds"])
        assert row["data_wait_seconds"] >= 16 * 0.002
        assert row["forward_seconds"] >= 2 * 0.01
        assert 0 < row["clip_seconds"] <= row["other_seconds"]


def test_an_evaluation_is_a_pause_whoever_says_so(rows: list[Row]) -> None:
    by_step = {int(row["step"]): row for row in rows}
    for step in (4, 6, 8, 10):
        row = by_step[step]
        assert row["evaluation_seconds"] >= 0.2
        assert row["pause_seconds"] == pytest.approx(row["evaluation_seconds"] + row["checkpoint_seconds"])
        gap = row["monotonic"] - by_step[step - 1]["monotonic"]
        assert gap == pytest.approx(row["step_seconds"] + row["pause_seconds"])
    # A teacher's eval() in each pass is none.
    assert all(row["evaluation_seconds"] < 0.05 for step, row in by_step.items() if step not in (4, 6, 8, 10))


EARLY = """
from torch.utils.data import DataLoader, TensorDataset
import torch
from _paceline_attach import layout, session

since = session.recorder().since  # as DDP's constructor makes it
loader = iter(DataLoader(TensorDataset(torch.zeros(4, 2))))
before = any(since)
next(loader)
print("RESULT", [int(before), int(since[layout.FORWARD] >= since[layout.DATA_WAIT] > 0.0)])
"""


def test_what_the_rank_does_is_said_before_the_first_backward_pass(attached: Job) -> None:
    assert attached(EARLY).printed() == [0, 1]


def test_a_checkpoint_is_a_pause_and_an_event(rows: list[Row], phases: Any) -> None:
    saved = {int(row["step"]) for row in rows if row["checkpoint_seconds"] > 0}
    assert saved == {8, 12}
    event = phases.rings[0].event("checkpoint")
    assert event.step == 7.0 and event.detail["seconds"] > 0


def test_the_norm_after_the_first_pass_is_sampled(rows: list[Row]) -> None:
    known = [int(row["step"]) for row in rows if not math.isnan(row["grad_norm_first_micro"])]
    assert known == [2]


def test_the_header_tells_what_the_loop_runs_with(phases: Any) -> None:
    header = phases.rings[0].header
    assert header["effective"]["optimizer"]["name"] == "AdamW"
    assert header["effective"]["loader"]["batch_size"] == 8
    assert (header["parameters"], header["device"]) == (9, "cpu")
    assert "flops_per_token" not in header  # its batches have no tokens
    assert phases.rings[0].kinds() == ["start", "first_step", "checkpoint", "end"]


SEVERAL = """
def gan():
    (critic, first), (generator, second) = made(), made()
    for x, y in batches(6):
        mse(critic(x), y).backward()
        first.step(); first.zero_grad()
        mse(generator(x), y).backward()
        second.step(); second.zero_grad()

def scaler():
    model, optimizer = made()
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for number, (x, y) in enumerate(batches(4)):
        loss = mse(model(x), y)
        losses.append(loss.item())
        scaler.scale(loss * (float("inf") if number == 1 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

def closure():
    model, optimizer = made(torch.optim.LBFGS, max_iter=3)
    for x, y in batches(3):
        def closed():
            optimizer.zero_grad()
            time.sleep(0.03)
            loss = mse(model(x), y)
            loss.backward()
            return loss
        optimizer.step(closed)

def parallel():
    model, optimizer = made()
    model = torch.nn.DataParallel(model)
    for x, y in batches(3):
        mse(model(x), y).backward()
        optimizer.step(); optimizer.zero_grad()

def checkpointed():
    from torch.utils.checkpoint import checkpoint
    model, optimizer = made()
    for x, y in batches(3):
        mse(checkpoint(model, x.requires_grad_(), use_reentrant=True), y).backward()
        optimizer.step(); optimizer.zero_grad()

losses = []
for loop in (gan, scaler, closure, parallel, checkpointed):
    loop()

child = os.fork()
if child == 0:  # trains on its own: the ring is its parent's
    parallel()
    os._exit(0)
os.waitpid(child, 0)
print("RESULT " + json.dumps(losses))
"""


def test_many_kinds_of_loops_in_one_process(attached: Job) -> None:
    told = attached(BEGIN + SEVERAL)
    assert told.status == 0, told.output
    assert told.notices() == []
    (ring,) = told.rings
    assert [row["step"] for row in ring.steps] == list(range(1, 6 + 4 + 3 + 3 + 3 + 1))
    gan, scaled, closed = ring.steps[:6], ring.steps[6:10], ring.steps[10:13]
    # One round of the first optimizer: the second's last pass falls to whatever comes next.
    assert [row["micro_steps"] for row in gan] == [1, 2, 2, 2, 2, 2]
    assert [row["optimizer_skipped"] == 1.0 for row in scaled] == [False, True, False, False]
    losses = [row["loss"] for row in scaled]
    assert losses[2:] == pytest.approx(told.printed()[2:])
    assert math.isinf(losses[1])
    for row in closed:
        assert row["micro_steps"] >= 2
        assert row["forward_seconds"] >= 0.03 * row["micro_steps"]
    optimizer, forward = (median(row[f"{phase}_seconds"] for row in closed) for phase in ("optimizer", "forward"))
    assert optimizer < forward
    assert all(row["micro_steps"] == 1 for row in ring.steps[13:])
    assert ring.event("nan").step == 8.0
    assert ring.event("end").step == 19.0


PADDED = """
class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, index):
        mask = torch.zeros(10, dtype=torch.long)
        mask[: 2 + index % 4] = 1
        return {"input_ids": torch.full((10,), index), "attention_mask": mask}

model = torch.nn.Embedding(64, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for number, batch in enumerate(DataLoader(Words(), batch_size=4)):
    model(batch["input_ids"]).sum().backward()
    optimizer.step()
"""


def test_padding_is_told_apart_where_it_is_sampled(attached: Job) -> None:
    (ring,) = attached(BEGIN + PADDED).rings
    assert {(row["samples"], row["tokens"]) for row in ring.steps} == {(4, 40)}
    assert [row["real_tokens"] for row in ring.steps[:10]] == [2 + 3 + 4 + 5] * 10
    assert all(math.isnan(row["real_tokens"]) for row in ring.steps[11:])
    assert ring.header["flops_per_token"] == 6 * ring.header["parameters"] == 6 * 256


COMPILED = """
import warnings
warnings.simplefilter("ignore")
model, optimizer = made()
compiled = torch.compile(model, backend="eager")
for number in range(6):
    x, y = data[: 8 if number < 3 else 9 + number]
    mse(compiled(x), y).backward()
    optimizer.step(); optimizer.zero_grad()

@torch.compile(backend="eager")
def whole(x, y):  # breaks at backward(), and again within the optimizer's step
    loss = mse(model(x), y)
    loss.backward()
    return loss.detach()

whole(*data[:8])
optimizer.step()
stepped = torch.compile(lambda: optimizer.step(), backend="eager")
for _ in range(3):
    mse(model(x), y).backward()
    stepped()
print("RESULT 1")
"""


def test_a_step_that_compiles_is_marked_and_the_compiler_finds_nothing_of_ours(attached: Job) -> None:
    told = attached(BEGIN + COMPILED)
    assert told.printed() == 1, told.output
    assert "paceline" not in told.output  # neither our word, nor the compiler's about our files
    (ring,) = told.rings
    compiling = [row["compile_seconds"] > 0 for row in ring.steps[:6]]
    assert compiling[:4] == [True, False, False, True]  # again when the batch changes its size
    assert [row["step"] for row in ring.steps] == list(range(1, 11))


FAILS = {
    "oom": "model, optimizer = made()\nfor x, y in DataLoader(data, batch_size=8):\n    torch.empty(2**46)\n",
    "memory": (
        "model, optimizer = made()\nfor x, y in DataLoader(data, batch_size=8):\n    raise MemoryError('host')\n"
    ),
    "exception": (
        "model, optimizer = made()\n"
        "for number, (x, y) in enumerate(DataLoader(data, batch_size=8)):\n"
        "    mse(model(x), y).backward()\n    optimizer.step()\n"
        "    if number == 2:\n        raise KeyError('of the user')\n"
    ),
}


@pytest.mark.parametrize(
    ("how", "kind", "error"),
    [("oom", "oom", "RuntimeError"), ("memory", "oom", "MemoryError"), ("exception", "exception", "KeyError")],
)
def test_an_uncaught_exception_is_told_with_its_type(attached: Job, how: str, kind: str, error: str) -> None:
    told = attached(BEGIN + FAILS[how])
    assert told.status == 1
    assert error in told.output
    (ring,) = told.rings
    event = ring.event(kind)
    assert event.detail["type"] == error
    assert ring.event("end").detail == {"how": kind}
    if kind == "oom":  # before there was a step
        assert (event.detail["samples"], event.detail["micro_step"]) == (8, 1)
        assert ring.steps == []
    else:
        assert event.step == 3.0 and len(ring.steps) == 3


KILLED = """
import signal
model, optimizer = made()
for number, (x, y) in enumerate(batches(8)):
    mse(model(x), y).backward()
    optimizer.step()
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_written_before_a_kill_is_all_there(attached: Job) -> None:
    told = attached(BEGIN + KILLED)
    assert told.status == -9
    (ring,) = told.rings
    assert [row["step"] for row in ring.steps] == [1, 2, 3, 4, 5]
    assert ring.kinds() == ["start", "first_step"]


NOTEBOOK = """
import code, sys
cells = [open(name).read() for name in sys.argv[2:]]
shell = code.InteractiveInterpreter()
for cell in cells:
    shell.runcode(compile(cell, "<cell>", "exec"))
print("RESULT 1")
"""
CELL = """
model, optimizer = made()
for x, y in batches(4):
    mse(model(x), y).backward()
    optimizer.step(); optimizer.zero_grad()
"""


def test_cells_run_in_an_interpreter_of_its_own(attached: Job, tmp_path: Path) -> None:
    for name, text in {"one": BEGIN, "two": CELL, "three": "raise ValueError('in a cell')", "four": CELL}.items():
        (tmp_path / name).write_text(text)
    told = attached(NOTEBOOK, *(str(tmp_path / name) for name in ("one", "two", "three", "four")))
    assert told.printed() == 1, told.output
    (ring,) = told.rings
    assert [row["step"] for row in ring.steps] == list(range(1, 9))
    assert ring.event("exception").detail["type"] == "ValueError"
    assert ring.kinds().count("first_step") == 2


API = """
import contextlib, random, sys, time
done = getattr(sys.modules.get("paceline_step"), "done", lambda **_: None)
pause = getattr(sys.modules.get("paceline_step"), "pause", contextlib.nullcontext)
done()
for number in range(100, 105):
    time.sleep(0.01)
    if number == 103:
        with pause("evaluation"):
            time.sleep(0.1)
    done(number=number, samples=4, tokens=40, real_tokens=30, loss=0.5, learning_rate=0.01, grad_norm=2.0)
done(loss="odd")
print("RESULT", int("torch" in sys.modules))
"""


def test_three_lines_do_for_any_other_loop(attached: Job) -> None:
    told = attached(API)
    assert told.printed() == 0, told.output
    (notice,) = told.notices()
    assert notice.startswith("paceline: reading the loss failed")
    (ring,) = told.rings
    assert [row["step"] for row in ring.steps[:5]] == [100, 101, 102, 103, 104]
    row = ring.steps[3]
    assert (row["samples"], row["tokens"], row["real_tokens"]) == (4, 40, 30)
    assert (row["loss"], row["learning_rate"], row["grad_norm"]) == (0.5, 0.01, 2.0)
    assert row["evaluation_seconds"] >= 0.1
    assert all(row["step_seconds"] >= 0.01 for row in ring.steps[:5])


def test_the_three_lines_do_nothing_without_us(attached: Job) -> None:
    told = attached(API, environment={"PYTHONPATH": ""})
    assert (told.status, told.printed(), told.notices(), told.rings) == (0, 0, [], [])


def test_an_isolated_python_is_left_alone(attached: Job) -> None:
    told = attached(BEGIN + CELL + "print('RESULT 1')", python=(sys.executable, "-I"))
    assert (told.printed(), told.notices(), told.rings) == (1, [], [])


def test_without_a_ring_the_loop_goes_on_after_one_line(attached: Job) -> None:
    told = attached(BEGIN + CELL + "print('RESULT 1')", environment={"PACELINE_RING_DIR": "/proc/self"})
    assert told.printed() == 1, told.output
    (notice,) = told.notices()
    assert notice.startswith("paceline: steps are not recorded: cannot make a ring in /proc/self")


def test_watching_changes_no_digit(attached: Job) -> None:
    script = BEGIN + CELL + "print('RESULT ' + json.dumps([p.tolist() for p in model.parameters()]))"
    assert attached(script).printed() == attached(script, environment={"PYTHONPATH": ""}).printed()


def test_a_ring_of_an_older_version_is_read_with_the_rest_unknown(
    attached: Job, attach_directory: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(attach_directory, older, ignore=shutil.ignore_patterns("__pycache__"))
    text = (older / "layout.py").read_text()
    start = text.index('    "real_tokens",')
    (older / "layout.py").write_text(text[:start] + text[text.index(")\n", text.index('"optimizer_skipped"')) :])
    script = (
        "from _paceline_attach import layout, session\n"
        "session.recorder().step([float(n) for n in range(len(layout.STEP_FIELDS))])\n"
        "print('RESULT', len(layout.STEP_FIELDS))\n"
    )
    told = attached(script, environment={"PYTHONPATH": str(older / "path")})
    known = told.printed()
    ((row,),) = [ring.steps for ring in told.rings]
    values = [row[name] for name in layout.STEP_FIELDS]
    assert values[:known] == [float(n) for n in range(known)]
    assert 0 < known < len(values) and all(map(math.isnan, values[known:]))
