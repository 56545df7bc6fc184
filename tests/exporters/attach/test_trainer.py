"""One process, small models: what surrounds train()."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Job = Callable[..., Any]

REPEATED = """
class Odd(Trainer):
    def training_step(self, model, inputs, *more):
        model.train()
        loss = self.compute_loss(model, self._prepare_inputs(inputs))
        loss.backward()
        self.optimizers_before = None
        return loss.detach()

class Fails(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 2:
            raise RuntimeError("of the user")

one = trainer(arguments(max_steps=1))
own = lambda model, inputs, *more: Trainer.training_step(one, model, inputs, *more)
one.training_step = own
for _ in range(3):
    one.train()
assert one.training_step is own
assert "get_batch_samples" not in one.__dict__ and "_maybe_log_save_evaluate" not in one.__dict__
assert "backward" not in one.accelerator.__dict__

broken = trainer(callbacks=[Fails()])
before = set(broken.__dict__)
try:
    broken.train()
except RuntimeError as error:
    assert str(error) == "of the user"
assert not {"get_batch_samples", "training_step", "_maybe_log_save_evaluate"} & set(broken.__dict__)
from torch.optim import optimizer
assert len(optimizer._global_optimizer_pre_hooks) == len(optimizer._global_optimizer_post_hooks) == 1
broken.pop_callback(Fails)
broken.train()

odd = trainer(cls=Odd)
odd.train()
descriptors = len(list(Path("/proc/self/fd").iterdir()))
odd.train()
odd.evaluate()
print("RESULT", len(list(Path("/proc/self/fd").iterdir())) - descriptors)
"""


def test_trains_repeat_fail_and_differ_in_one_process(attached: Job, tiny_job: str) -> None:
    told = attached(tiny_job + REPEATED)
    assert told.status == 0, told.output
    assert told.notices() == []
    assert told.printed() <= 0
    (ring,) = told.rings
    steps = [int(row["step"]) for row in ring.steps]
    # The step after which the callback raised had not ended.
    assert steps == [1, 1, 1, 1, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]
    assert all(row["micro_steps"] == 1 and row["samples"] == 2 for row in ring.steps)
    ends = [(event.detail["how"], event.step) for event in ring.events if event.kind == "end"]
    assert ends == [("finished", 1.0)] * 3 + [("exception", 2.0)] + [("finished", 4.0)] * 3
    raised = ring.event("exception")
    assert (raised.step, raised.detail) == (2.0, {"type": "RuntimeError", "message": "of the user"})
    own_step = ring.steps[-1]
    assert own_step["backward_seconds"] > 0  # it called no accelerator
    assert own_step["optimizer_seconds"] > 0


NAN = """
class Bad(Trainer):
    def compute_loss(self, *args, **more):
        loss = super().compute_loss(*args, **more)
        return loss * float("nan") if self.state.global_step == 2 else loss

trainer(cls=Bad).train()
"""


def test_a_loss_that_is_not_finite_is_told_once(attached: Job, tiny_job: str) -> None:
    (ring,) = attached(tiny_job + NAN).rings
    event = ring.event("nan")
    assert (event.step, event.detail) == (3.0, {"loss": "nan"})
    losses = [row["loss"] for row in ring.steps]
    assert losses[2] != losses[2] and losses[0] == losses[0]


OOM = """
class Large(Trainer):
    def compute_loss(self, *args, **more):
        torch.empty(2**46)
        return super().compute_loss(*args, **more)

trainer(cls=Large).train()
"""


def test_a_failed_allocation_is_out_of_memory(attached: Job, tiny_job: str) -> None:
    told = attached(tiny_job + OOM)
    assert told.status == 1
    assert "DefaultCPUAllocator" in told.output
    (ring,) = told.rings
    event = ring.event("oom")
    assert event.detail["type"] == "RuntimeError"
    assert "can't allocate memory" in event.detail["message"]
    assert ring.event("end").detail == {"how": "oom"}


OVERWRITES = """
args = arguments()
args.learning_rate = 0.25
trainer(args).train()
"""


@pytest.mark.parametrize("harness", [None, {"output_dir": "trial", "max_steps": 2, "seed": 1}])
def test_a_value_that_the_script_overwrites_is_rejected(
    attached: Job, tiny_job: str, proposal: Any, harness: Any
) -> None:
    told = attached(tiny_job + OVERWRITES, proposal=proposal(arguments={"learning_rate": 0.001}, harness=harness))
    assert told.status == 78
    (notice,) = told.notices()
    assert notice == (
        "paceline: rank 0: rejected: learning_rate=0.001 did not take effect (the Trainer has 0.25): "
        "a script sets it later"
    )
    (ring,) = told.rings
    assert ring.event("rejected").detail["code"] == "not_effective"
    assert ring.steps == []


def test_ddp_keywords_without_ddp_are_rejected(attached: Job, tiny_job: str, proposal: Any) -> None:
    told = attached(tiny_job + "trainer().train()\n", proposal=proposal(ddp={"bucket_cap_mb": 10}))
    assert told.status == 78
    (ring,) = told.rings
    assert "builds no DistributedDataParallel" in ring.event("rejected").detail["reason"]


PLAIN = "trainer().train()\nprint('RESULT 1')\n"
UNWRITABLE = {"a directory": "/proc/self", "a file in its place": "/etc/hostname"}


@pytest.mark.parametrize("place", UNWRITABLE)
@pytest.mark.parametrize("arguments", [None, {"learning_rate": 0.001}])
def test_without_a_ring_training_goes_on_after_one_line(
    attached: Job, tiny_job: str, proposal: Any, place: str, arguments: Any
) -> None:
    told = attached(
        tiny_job + PLAIN,
        environment={"PACELINE_RING_DIR": UNWRITABLE[place]},
        proposal=None
        if arguments is None
        else proposal(arguments=arguments, ddp={"bucket_cap_mb": 5}, kind="normal"),
    )
    assert told.printed() == 1, told.output
    (notice,) = told.notices()
    assert notice.startswith("paceline: steps are not recorded: cannot make a ring in ")
    assert notice.endswith("set PACELINE_RING_DIR to a writable directory")


WORKERS = """
import multiprocessing
if __name__ == "__main__":
    for context in ("fork", "spawn"):
        trainer(arguments(max_steps=2, dataloader_num_workers=1, dataloader_multiprocessing_context=context,
                          dataloader_pin_memory=False)).train()
    print("RESULT 1")
"""


def test_data_loader_workers_make_no_ring(attached: Job, tiny_job: str) -> None:
    told = attached(tiny_job + WORKERS)
    assert told.printed() == 1, told.output
    assert told.notices() == []
    (ring,) = told.rings
    assert [int(row["step"]) for row in ring.steps] == [1, 2, 1, 2]


ODD_BATCHES = """
class Shapeless(Trainer):
    def training_step(self, model, inputs, *more):
        return super().training_step(model, {k: torch.stack(list(v)) for k, v in inputs.items()}, *more)
    def floating_point_ops(self, inputs):
        return 0

class Lists(dict):
    pass

def lists(features):
    return {"input_ids": [f["input_ids"] for f in features], "labels": [f["labels"] for f in features]}

one = trainer(arguments(max_steps=2, average_tokens_across_devices=False), cls=Shapeless, data_collator=lists)
one.model_accepts_loss_kwargs = False
one.train()
print("RESULT 1")
"""


def test_a_batch_we_cannot_count_is_the_jobs_own_business(attached: Job, tiny_job: str) -> None:
    told = attached(tiny_job + ODD_BATCHES)
    assert told.printed() == 1, told.output
    (ring,) = told.rings
    assert len(ring.steps) == 2
    assert all(row["samples"] != row["samples"] for row in ring.steps)


ODD_ARGUMENTS = """
args = arguments()
args.to_dict = lambda: {"loop": {("a", "b"): 1}}
trainer(args).train()
print("RESULT 1")
"""


def test_arguments_we_cannot_describe_cost_their_description_only(
    attached: Job, tiny_job: str, proposal: Any
) -> None:
    told = attached(tiny_job + ODD_ARGUMENTS)
    assert told.printed() == 1, told.output
    (notice,) = told.notices()
    assert notice.startswith("paceline: describing the job failed, training goes on without it: TypeError")
    assert len(told.rings[0].steps) == 4


def test_arguments_we_cannot_read_back_reject_a_proposal(attached: Job, tiny_job: str, proposal: Any) -> None:
    told = attached(tiny_job + ODD_ARGUMENTS, proposal=proposal(arguments={"learning_rate": 0.1}))
    assert told.status == 78
    assert "what took effect cannot be read back: TypeError" in told.rings[0].event("rejected").detail["reason"]


NUMBERS = """
one = trainer(arguments(max_steps=6, gradient_accumulation_steps=2, seed=3))
one.train()
print("RESULT " + json.dumps([one.state.log_history, [float(p.double().sum()) for p in one.model.parameters()]]))
"""


def test_attaching_changes_no_digit(attached: Job, tiny_job: str) -> None:
    def digits(environment: dict[str, str]) -> Any:
        told = attached(tiny_job + NUMBERS, environment=environment)
        history, weights = told.printed()
        times = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
        return json.dumps([[{k: v for k, v in entry.items() if k not in times} for entry in history], weights])

    assert digits({}) == digits({"PYTHONPATH": ""})


@pytest.mark.slow
def test_ranks_with_different_proposals_both_stop_and_name_the_difference(
    two_ranks: Job, tiny_job: str, proposal: Any
) -> None:
    """One node was given another file: what the launcher passed on is replaced on rank 1."""
    other = json.dumps({**proposal(arguments={"learning_rate": 0.002}), "hash": "b"})
    swap = f"import os\nif os.environ['RANK'] == '1':\n    os.environ['PACELINE_PROPOSAL'] = {other!r}\n"
    told = two_ranks(
        swap + tiny_job + "trainer().train()\n", "OUT", proposal=proposal(arguments={"learning_rate": 0.001})
    )
    assert told.status != 0
    assert told.outcome["state"] == "rejected"
    assert told.outcome["code"] == "ranks_differ"
    for ring, other_rank in zip(told.rings, (1, 0), strict=True):
        reason = ring.event("rejected").detail["reason"]
        assert "ranks differ in learning_rate" in reason
        assert f"on rank {other_rank}; give every node the same proposal and the same code" in reason
        assert ring.steps == []


FAILS_ON_ONE = """
class Fails(TrainerCallback):
    def on_step_begin(self, args, state, control, **more):
        if os.environ["RANK"] == "1" and state.global_step == 2:
            raise ValueError("on one rank")

trainer(callbacks=[Fails()]).train()
"""


@pytest.mark.slow
def test_an_exception_on_one_rank_is_told_as_the_cause(two_ranks: Job, tiny_job: str) -> None:
    told = two_ranks(tiny_job + FAILS_ON_ONE, "OUT")
    assert told.status == 1
    outcome = told.outcome
    assert (outcome["state"], outcome["reason"]) == ("failed", "crash")
    assert outcome["detail"] == "rank 1 at step 2: ValueError: on one rank"
    assert told.rings[1].event("exception").detail == {"type": "ValueError", "message": "on one rank"}
    assert [row["step"] for row in told.rings[1].steps] == [1, 2]
