from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.supervise.launch import (
    ATTACH_PATH,
    LaunchError,
    environment,
    fill,
    isolated_python,
    read_proposal,
)
from paceline_exporters.messages import Harness, MessageError, Proposal


def proposal(**sections: Any) -> Proposal:
    return Proposal("s", 1, "r", "trial", **sections)


def test_a_proposal_is_a_path_or_the_json_itself(tmp_path: Path) -> None:
    text = json.dumps(proposal(arguments={"seed": 1}).encode())
    (tmp_path / "p.json").write_text(text)
    assert read_proposal(text) == read_proposal(str(tmp_path / "p.json")) == proposal(arguments={"seed": 1})


@pytest.mark.parametrize("text", ["/no/such/file", "{broken", "{}", '{"kind": 1}', "x" * 5000])
def test_a_proposal_that_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(LaunchError, match="--proposal: cannot read"):
        read_proposal(text)


def test_a_proposal_file_that_holds_a_list_is_said(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[1]")
    with pytest.raises(LaunchError, match="expected an object"):
        read_proposal(str(tmp_path / "p.json"))


def test_placeholders_are_filled_and_other_braces_stay() -> None:
    given = proposal(placeholders={"micro": 4, "rate": 1e-05, "flag": True})
    command = ["train", "--b={micro}", "{rate}{flag}", "{other}", '{"json": 1}', "${HOME}"]
    assert fill(command, given) == ["train", "--b=4", "1e-05True", "{other}", '{"json": 1}', "${HOME}"]
    assert fill(command, None) == fill(command, proposal()) == command


def test_a_placeholder_that_the_command_lacks_is_said() -> None:
    with pytest.raises(LaunchError, match=r"no placeholder \{micro\}, but the proposal sets it"):
        fill(["train"], proposal(placeholders={"micro": 4}))


def test_the_environment_gets_our_path_first_and_keeps_the_users() -> None:
    made = environment({"PYTHONPATH": "/own:/other", "HOME": "/h"}, None, "token", None)
    assert made["PYTHONPATH"].split(os.pathsep) == [str(ATTACH_PATH), "/own", "/other"]
    assert environment({}, None, "token", None)["PYTHONPATH"] == str(ATTACH_PATH)
    assert (made["HOME"], made["PACELINE_SUPERVISOR"]) == ("/h", "token")
    assert "PACELINE_PROPOSAL" not in made


@pytest.mark.parametrize(
    ("given", "flag", "rings"), [("a", None, "a"), ("a", "b", "b"), ("", "b", "b"), ("/a", None, "/a")]
)
def test_a_ring_directory_stands_where_the_job_may_go(given: str, flag: str | None, rings: str) -> None:
    made = environment({"PACELINE_RING_DIR": given}, None, "token", flag)
    assert made["PACELINE_RING_DIR"] == str(Path.cwd() / rings)


def test_an_outer_proposal_is_not_inherited() -> None:
    assert "PACELINE_PROPOSAL" not in environment({"PACELINE_PROPOSAL": "{}"}, None, "token", None)


def test_a_trial_has_its_trackers_off_and_a_normal_run_has_not() -> None:
    trial = environment({}, proposal(harness=Harness("o", 1, 1)), "token", "rings")
    normal = environment({}, proposal(), "token", None)
    assert trial["WANDB_MODE"] == "disabled"
    assert "WANDB_MODE" not in normal
    assert trial["PACELINE_RING_DIR"] == str(Path("rings").absolute())
    assert json.loads(trial["PACELINE_PROPOSAL"])["harness"]["max_steps"] == 1


@pytest.mark.parametrize(
    "name", ["NCCL_ALGO", "OMP_NUM_THREADS", "TORCH_NCCL_HIGH_PRIORITY", "PYTORCH_CUDA_ALLOC_CONF"]
)
def test_an_allowed_variable_is_set(name: str) -> None:
    assert environment({}, proposal(env={name: "1"}), "token", None)[name] == "1"


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "PATH",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "HOME",
        "NCCL_NET_PLUGIN",
        "NCCL_TOPO_DUMP_FILE",
        "",
        "nccl_algo",
    ],
)
def test_any_other_variable_is_refused_by_name(name: str) -> None:
    with pytest.raises(
        LaunchError, match=f"sets the environment variable {name}, which is not on the allow-list"
    ):
        environment({}, proposal(env={name: "1"}), "token", None)


def test_a_variable_is_text() -> None:
    with pytest.raises(MessageError, match="expected text for NCCL_ALGO, got 1"):
        environment({}, proposal(env={"NCCL_ALGO": 1}), "token", None)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("command", "isolated"),
    [
        ("python -I train.py", True),
        ("/usr/bin/python3 -u -E train.py", True),
        ("python3.11 -uI train.py", True),
        ("python -S train.py", True),
        ("python train.py -I", False),
        ("python -s train.py", False),
        ("python -m torch.distributed.run train.py -E", False),
        ("torchrun --nproc-per-node 2 train.py", False),
        ("bash -c x", False),
    ],
)
def test_isolated_python(command: str, isolated: bool) -> None:
    assert isolated_python(command.split()) is isolated
