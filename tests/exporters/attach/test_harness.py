"""A trial touches nothing of the user's; the same script run normally keeps all its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach import harness

pytestmark = pytest.mark.slow

USERS = """
from transformers import EarlyStoppingCallback

elsewhere = Path(sys.argv[2])

class Stops(EarlyStoppingCallback):
    pass

class Saves(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        control.should_save = True

args = arguments(save_strategy="steps", save_steps=2, eval_strategy="steps", eval_steps=2,
                 load_best_model_at_end=True, metric_for_best_model="eval_loss", max_steps=6)
print("JOB uses", args.output_dir)
own = trainer(args, callbacks=[Stops(early_stopping_patience=10), Saves()])
own.model.save_pretrained(elsewhere / "before")
try:
    own.train(resume_from_checkpoint=True if len(sys.argv) > 3 else None)
    own.save_model(str(elsewhere / "saved"))
    print("JOB tail")
    (elsewhere / f"tail-{os.environ['RANK']}").touch()
except Exception as error:
    print("JOB hides", error)
finally:
    own.save_model(str(elsewhere / "finally"))
"""


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def normal(
    two_ranks: Callable[..., Any], tiny_job: str, proposal: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A normal run with a proposal: the best known configuration, no harness."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    given = proposal(kind="normal", arguments={"learning_rate": 0.002}, ddp={"bucket_cap_mb": None})
    return two_ranks(tiny_job + USERS, "OUT", str(elsewhere), proposal=given), elsewhere


def test_a_normal_run_with_a_proposal_saves_all_that_is_its_own(normal: Any) -> None:
    told, elsewhere = normal
    assert told.status == 0, told.output
    assert told.outcome["state"] == "finished"
    names = set(files(elsewhere))
    for place in ("before", "saved", "finally"):
        assert f"{place}/model.safetensors" in names
    assert {"tail-0", "tail-1"} <= names
    assert [path.name for path in (told.directory / "out").glob("checkpoint-6")] == ["checkpoint-6"]
    for ring in told.rings:
        assert ring.header["effective"]["arguments"]["learning_rate"] == 0.002
        assert ring.header["effective"]["ddp"]["bucket_cap_mb"] is None
        assert len(ring.steps) == 6


def test_a_trial_leaves_the_users_files_alone(
    normal: Any, two_ranks: Callable[..., Any], tiny_job: str, proposal: Any, tmp_path: Path
) -> None:
    before, elsewhere = normal
    users = before.directory / "out"
    untouched = files(users), files(elsewhere)
    given = proposal(
        arguments={"gradient_accumulation_steps": 2, "lr_scheduler_type": "cosine"},
        ddp={"bucket_cap_mb": 25, "find_unused_parameters": False},
        env={"OMP_NUM_THREADS": "1"},
        harness={"output_dir": str(tmp_path / "trial"), "max_steps": 3, "seed": 11, "evaluate": True},
    )
    told = two_ranks(tiny_job + USERS, str(users), str(elsewhere), "resume", proposal=given)
    assert told.status == 0, told.output
    assert (files(users), files(elsewhere)) == untouched
    assert files(tmp_path / "trial") == {}
    assert f"JOB uses {tmp_path / 'trial'}" in told.output
    assert "JOB tail" not in told.output and "JOB hides" not in told.output
    assert told.outcome["state"] == "finished"
    assert told.outcome["metrics"]["eval_loss"] > 0
    for ring in told.rings:
        assert [row["step"] for row in ring.steps] == [1, 2, 3]
        assert {row["micro_steps"] for row in ring.steps} == {2}
        assert (ring.header["run_id"], ring.header["kind"]) == ("run-of-a-trial", "trial")
        effective = ring.header["effective"]
        assert effective["ddp"]["bucket_cap_mb"] == 25
        assert effective["ddp"]["find_unused_parameters"] is False
        assert effective["arguments"]["lr_scheduler_type"] == "cosine"
        assert effective["arguments"]["seed"] == 11
        assert "evaluation" in ring.kinds()
        assert ring.event("end").detail == {"how": "finished"}


def test_an_evaluation_that_cannot_be_made_is_rejected(
    attached: Callable[..., Any], tiny_job: str, proposal: Any
) -> None:
    given = proposal(harness={"output_dir": "trial", "max_steps": 1, "seed": 1, "evaluate": True})
    told = attached(tiny_job + "own = trainer()\nown.eval_dataset = None\nown.train()\n", proposal=given)
    assert told.status == 78
    assert "the Trainer has no eval_dataset" in told.rings[0].event("rejected").detail["reason"]


def test_many_metrics_keep_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(harness, "event", lambda kind, step, **detail: told.append(detail["metrics"]))
    harness.evaluated(
        {"eval_runtime": 1.0, "eval_f1": 0.5, "eval_loss": 2.0, "eval_bad": float("nan"), "name": "x"}, 1.0
    )
    assert list(told[0]) == ["eval_loss", "eval_f1", "eval_runtime"]
