"""Study files: the friendly form, and errors that name line, field and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline_tuner.study.errors import StudyError
from paceline_tuner.study.file import load_study
from paceline_tuner.study.spec import Budget, Condition, Knob, Objective, Proof, StudySpec

GOOD = """\
study: gpt2-demo
command: torchrun --nproc-per-node 2 train.py --lr {lr} --micro {micro} --name 'two words'
knobs:
  per_device_train_batch_size: [4, 8, 16]
  learning_rate: {low: 1e-5, high: 1.0e-3, log: true}
  dataloader_prefetch_factor: {choices: [2, 4], when: {dataloader_num_workers: [1, 2]}}
  dataloader_num_workers: {low: 0, high: 2}
  lr_scheduler_kwargs: [null, {min_lr: 1e-6}]
  ddp.bucket_cap_mb: [unset, 5, 25]
  ddp.static_graph:
    - false
    - true
  env.NCCL_ALGO: ["allreduce:ring", "allreduce:^tree"]
  env.OMP_NUM_THREADS: [1, 2]
  env.MALLOC_ARENA_MAX: {low: 1, high: 4}
  placeholder.micro: {choices: [1, 2], default: 1}
  some_future_field: [a, 1]
hold: global_batch
objective: {throughput: tokens, warmup_steps: 5, measure_steps: 20}
budget: {trials: 10, wall: 2h, parallel: 1, run: 1h30m, hang: 90}
proof: {min_pairs: 6, max_pairs: 8, width: 5%}
sampler: gp
seed: 3
env: {TOKENIZERS_PARALLELISM: true, NCCL_DEBUG: INFO}
defaults: {lr: 5e-5}
"""


def load(tmp_path: Path, text: str) -> StudySpec:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load_study(path)


def test_everything_a_study_can_say(tmp_path: Path) -> None:
    study = load(tmp_path, GOOD)
    assert study.name == "gpt2-demo"
    assert study.command[-2:] == ("--name", "two words")
    assert study.objective == Objective("throughput", "maximize", unit="tokens", warmup_steps=5, measure_steps=20)
    assert study.budget == Budget(10, 7200.0, 1, 5400.0, 90.0)
    assert study.proof == Proof(6, 8, 0.05)
    assert (study.sampler, study.seed, study.hold_global_batch) == ("gp", 3, True)
    assert study.env == {"TOKENIZERS_PARALLELISM": "true", "NCCL_DEBUG": "INFO"}
    assert study.defaults == {"lr": 5e-5, "micro": 1}


def test_knobs_are_typed_and_follow_what_they_depend_on(tmp_path: Path) -> None:
    study = load(tmp_path, GOOD)
    knobs = {knob.name: knob for knob in study.knobs}
    assert knobs["learning_rate"] == Knob(
        "learning_rate", "arguments", "learning_rate", "float", "convergence", low=1e-5, high=1e-3, log=True
    )
    assert knobs["per_device_train_batch_size"].effect == "numerics"
    assert knobs["ddp.bucket_cap_mb"].choices == (None, 5, 25)
    assert knobs["env.OMP_NUM_THREADS"].choices == ("1", "2")
    assert knobs["env.MALLOC_ARENA_MAX"].kind == "int"
    assert knobs["lr_scheduler_kwargs"].choices == (None, {"min_lr": 1e-6})
    assert knobs["some_future_field"].effect == "convergence"
    names = list(knobs)
    assert knobs["dataloader_prefetch_factor"].when == Condition("dataloader_num_workers", (1, 2))
    assert names.index("dataloader_num_workers") < names.index("dataloader_prefetch_factor")


def test_the_shortest_study(tmp_path: Path) -> None:
    command = "study: a\ncommand: [python, train.py, --n, 1e-5]\n"
    study = load(tmp_path, command + "knobs: {weight_decay: [0, 0.1]}\nobjective: throughput\n")
    assert study.command == ("python", "train.py", "--n", "1e-5")
    assert (study.budget, study.proof, study.env, study.defaults) == (Budget(), Proof(), None, None)


def test_a_final_metric_leaves_the_batch_free(tmp_path: Path) -> None:
    text = (
        "study: a\ncommand: python train.py\nknobs: {per_device_train_batch_size: [1, 2]}\n"
        "objective: {final: eval_loss, direction: minimize, max_steps: 200}\nbudget: {parallel: 2}\n"
    )
    study = load(tmp_path, text)
    assert study.objective == Objective("final", "minimize", metric="eval_loss", max_steps=200)
    assert study.knobs[0].effect == "convergence"


def changed(line: int, text: str | None) -> str:
    """GOOD with one line replaced, or left out."""
    lines = GOOD.splitlines()
    lines[line - 1 : line] = [] if text is None else text.splitlines()
    return "\n".join(lines) + "\n"


KNOB = 17
"""The line of GOOD that a test's own knob takes the place of."""

BAD = [
    # --- the document
    (changed(1, "study: 'open"), 2, ["is no YAML"]),
    (changed(2, "study: twice\ncommand: python x.py"), 2, ["study: is there twice, first in line 1"]),
    (changed(4, "  weight_decay: [0]\n  weight_decay: [1]"), 5, ["knobs.weight_decay: is there twice"]),
    (changed(24, "sead: 3"), 24, ["sead: is unknown here: did you mean seed?"]),
    (changed(20, "objectiv: throughput"), 20, ["did you mean objective?"]),
    (changed(1, None), 1, ["study: is missing"]),
    (changed(1, "study: Demo_1"), 1, ["study: expected at most 63 small letters", "rename"]),
    (changed(1, f"study: {'a' * 64}"), 1, ["at most 63"]),
    (changed(1, "study:"), 1, ["study: expected text, got nothing"]),
    (changed(1, "study: &a [*a]"), 1, ["nested"]),
    ("- a\n", 1, ["expected a mapping with study", "got a list"]),
    ("", 1, ["is empty"]),
    # --- the command
    (changed(2, "command: python 'x.py"), 2, ["command: cannot be split", "No closing quotation"]),
    (changed(2, "command: [python, {lr}, '{micro}']"), 2, ["command.1: ", "quote a word"]),
    (changed(2, "command: []"), 2, ["command: expected the command that starts the job"]),
    (changed(2, "command: cd /x && python t.py {lr} {micro}"), 2, ["no shell runs the command", "'&&'", "bash"]),
    (changed(2, "command: A=1 python t.py {lr} {micro}"), 2, ["command: expected a program first", "env:"]),
    (changed(2, "command: python x.py {micro}"), 25, ["defaults.lr: the command has no placeholder {lr}"]),
    (changed(2, "command: python x.py {lr}"), 16, ["knobs.placeholder.micro: the command has no placeholder"]),
    (changed(25, "defaults: {}"), 2, ["command: the placeholder {lr} has no value for the default run"]),
    (
        changed(16, "  placeholder.micro: [1, 2]"),
        16,
        ["placeholder.micro: the placeholder {micro}", "`default:`"],
    ),
    # --- values
    (changed(5, "  learning_rate: {low: 1e-3, high: 1e-5}"), 5, ["learning_rate.low: expected less than high"]),
    (changed(5, "  learning_rate: {low: 0, high: 1e-5, log: true}"), 5, ["above 0 with `log: true`"]),
    (changed(5, "  learning_rate: {low: -1, high: 1.0}"), 5, ["learning_rate.low: expected a number above 0"]),
    (changed(5, "  learning_rate: {low: 1}"), 5, ["expected either choices or a range, low and high"]),
    (
        changed(5, "  learning_rate: {low: small, high: 1}"),
        5,
        ["learning_rate.low: expected a number, got 'small'"],
    ),
    (
        changed(5, "  learning_rate: {lo: 1, high: 2}"),
        5,
        ["learning_rate.lo: is unknown here: did you mean low?"],
    ),
    (changed(5, "  learning_rate: {low: 1e-5, high: 1e-3, step: 1e-5, log: true}"), 5, ["learning_rate.step"]),
    (
        changed(5, "  learning_rate: {low: 1e-5, high: 1e999}"),
        5,
        ["learning_rate.high: expected a finite number"],
    ),
    (changed(5, "  learning_rate: 1e-5"), 5, ["learning_rate: expected a list of choices, or a range"]),
    (changed(5, "  learning_rate: []"), 5, ["learning_rate: expected either choices or a range"]),
    (changed(5, "  learning_rate: [1e-5, 1.0e-5]"), 5, ["learning_rate.choices.1: 1e-05 is there twice"]),
    (
        changed(4, "  per_device_train_batch_size:\n    - 4\n    - 0"),
        6,
        ["expected a whole number of at least 1, got 0"],
    ),
    (changed(4, "  per_device_train_batch_size: {low: 1.5, high: 8}"), 4, ["write whole numbers"]),
    (
        changed(KNOB, "  bf16: [on, false]"),
        KNOB,
        ["bf16.0: `on` is true or false to some", "write true or false"],
    ),
    (changed(KNOB, "  bf16: ['true']"), KNOB, ["expected true or false, got 'true'"]),
    (changed(KNOB, "  lr_scheduler_type: [linar]"), KNOB, ["expected one of linear, cosine"]),
    (changed(KNOB, "  lr_scheduler_type: {low: 1, high: 2}"), KNOB, ["or a list of choices"]),
    (changed(KNOB, "  weight_decay: [unset, 1]"), KNOB, ["weight_decay.0: `unset` is for ddp knobs only"]),
    (changed(9, "  ddp.bucket_cap_mb: [null, 5]"), 9, ["ddp.bucket_cap_mb.0: write `unset`"]),
    (changed(9, "  ddp.bucket_cap_mb: [0]"), 9, ["expected a whole number of at least 1"]),
    (
        changed(14, "  env.OMP_NUM_THREADS: [1, null]"),
        14,
        ["env.OMP_NUM_THREADS.1: expected the variable's value"],
    ),
    (changed(14, "  env.OMP_NUM_THREADS: [many]"), 14, ["expected a whole number from 1 to 1024, got 'many'"]),
    (changed(16, "  placeholder.micro: {choices: [1, [2]], default: 1}"), 16, ["text, a number, true or false"]),
    # --- names
    (changed(KNOB, "  ddp.bucket_cap: [5]"), KNOB, ["ddp.bucket_cap: did you mean ddp.bucket_cap_mb?"]),
    (changed(KNOB, "  foo.bar: [5]"), KNOB, ["foo.bar: expected a name of letters"]),
    (changed(KNOB, "  warmup_ratio: [0.1]"), KNOB, ["warmup_ratio: this name is not used: write warmup_steps"]),
    (changed(KNOB, "  gradient_checkpointing: [true]"), KNOB, ["write activation_checkpointing"]),
    (changed(KNOB, "  ddp_bucket_cap_mb: [5]"), KNOB, ["write ddp.bucket_cap_mb"]),
    (changed(KNOB, "  auto_find_batch_size: [true]"), KNOB, ["auto_find_batch_size: it changes the batch"]),
    *[
        (changed(KNOB, f"  {name}: [1]"), KNOB, [f"knobs.{name}: every trial sets it itself"])
        for name in (
            "output_dir",
            "max_steps",
            "seed",
            "save_steps",
            "report_to",
            "push_to_hub",
            "resume_from_checkpoint",
            "num_train_epochs",
        )
    ],
    *[
        (changed(KNOB, f"  env.{name}: [a]"), KNOB, [f"knobs.env.{name}: a study may not set it"])
        for name in ("LD_PRELOAD", "PYTHONPATH", "PATH", "NCCL_TUNER_PLUGIN", "NCCL_CONF_FILE")
    ],
    (changed(KNOB, "  env.HF_HOME: [a]"), KNOB, ["env.HF_HOME: a study may set only", "in the shell"]),
    (changed(24, "env: {LD_PRELOAD: x.so}"), 24, ["env.LD_PRELOAD: a study may not set it"]),
    (changed(24, "env: {NCCL_PROTO: LL128}"), 24, ["env.NCCL_PROTO: expected exclusions only"]),
    # --- NCCL
    (
        changed(KNOB, "  env.NCCL_PROTO: [LL128]"),
        KNOB,
        ["NCCL_PROTO.choices.0", "exclusions only", "corrupts data"],
    ),
    (changed(13, "  env.NCCL_ALGO: [Ring]"), 13, ["scoped to a function", "allreduce:ring"]),
    (changed(13, "  env.NCCL_ALGO: ['allgather:tree']"), 13, ["scoped to a function"]),
    (changed(KNOB, "  env.NCCL_NTHREADS: [100]"), KNOB, ["expected one of 64, 128, 256, 512"]),
    (changed(KNOB, "  env.NCCL_BUFFSIZE: [5000000]"), KNOB, ["a power of two"]),
    (
        changed(KNOB, "  env.NCCL_MIN_CTAS: {low: 1, high: 65}"),
        KNOB,
        ["NCCL_MIN_CTAS.high: expected a whole number from 1 to 64"],
    ),
    (changed(KNOB, "  env.NCCL_MIN_NCHANNELS: [4]"), KNOB, ["use env.NCCL_MIN_CTAS"]),
    (changed(KNOB, "  env.NCCL_TREE_THRESHOLD: [0]"), KNOB, ["no longer reads it"]),
    (
        changed(KNOB, "  env.NCCL_SOCKET_NTHREADS: [8]\n  env.NCCL_NSOCKS_PERTHREAD: [2, 16]"),
        KNOB + 1,
        ["at most 64 sockets", "8 x 16"],
    ),
    (
        changed(KNOB, "  env.NCCL_IB_SPLIT_DATA_ON_QPS: [0, 1]"),
        KNOB,
        ["works only with env.NCCL_IB_QPS_PER_CONNECTION of at least 2"],
    ),
    # --- conditions
    (
        changed(6, "  dataloader_prefetch_factor: [2, 4]"),
        6,
        ["works only with dataloader_num_workers of at least 1", "`when:"],
    ),
    (
        changed(7, "  dataloader_persistent_workers: [true]"),
        6,
        ["looks at 'dataloader_num_workers', which is no knob"],
    ),
    (changed(6, "  dataloader_persistent_workers: [false, true]"), 6, ["works only with dataloader_num_workers"]),
    (
        changed(7, "  dataloader_num_workers: [0, 1, 3]"),
        6,
        ["when.dataloader_num_workers: 2 is not among the values"],
    ),
    (changed(KNOB, "  tf32: {choices: [true], when: {tf32: [true]}}"), KNOB, ["tf32.when: looks at 'tf32'"]),
    (changed(KNOB, "  tf32: {choices: [true], when: {optim: [a], bf16: [true]}}"), KNOB, ["expected one knob"]),
    (
        changed(KNOB, "  bf16: [false, true]\n  fp16: [false, true]"),
        KNOB + 1,
        ["cannot be on together with bf16"],
    ),
    # --- fairness
    (
        changed(18, None),
        4,
        ["leaves the global batch free", "the largest batch would always win", "`hold: global_batch`"],
    ),
    (changed(4, "  gradient_accumulation_steps: [1, 2]"), 4, ["the accumulation follows the batch"]),
    (changed(18, "hold: batch"), 18, ["hold: ", "global_batch"]),
    # --- objective, budget, proof, the rest
    (changed(19, "objective: speed"), 19, ["objective: expected one of throughput"]),
    (changed(19, "objective: {throughput: sample}"), 19, ["objective.throughput: did you mean samples?"]),
    (
        changed(19, "objective: {throughput: samples, measure_steps: 0}"),
        19,
        ["objective.measure_steps: expected"],
    ),
    (changed(19, "objective: {final: eval_loss, max_steps: 9}"), 19, ["objective.direction: is missing"]),
    (
        changed(19, "objective: {final: eval_loss, direction: minimize, max_steps: 0}"),
        19,
        ["objective.max_steps"],
    ),
    (changed(20, "budget: {trials: 0}"), 20, ["budget.trials: expected a whole number of at least 1"]),
    (changed(20, "budget: {trials: many}"), 20, ["budget.trials: expected a whole number, got 'many'"]),
    (changed(20, "budget: {wall: 1:30}"), 20, ["budget.wall: expected a duration such as 90s"]),
    (changed(20, "budget:\n  trials: 4\n  parallel: 2"), 22, ["budget.parallel: expected 1", "slow each other"]),
    (changed(21, "proof: {min_pairs: 5}"), 21, ["proof.min_pairs: expected at least 6"]),
    (changed(21, "proof: {min_pairs: 8, max_pairs: 7}"), 21, ["proof.max_pairs: expected at least min_pairs"]),
    (changed(21, "proof: {width: 5}"), 21, ["proof.width: expected a share such as 5%"]),
    (changed(22, "sampler: tpee"), 22, ["sampler: did you mean tpe?"]),
    (changed(23, "seed: -1"), 23, ["seed: expected a whole number from 0"]),
]


@pytest.mark.parametrize(("text", "line", "fragments"), BAD, ids=[str(fragments[0]) for _, _, fragments in BAD])
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, text: str, line: int, fragments: list[str]) -> None:
    with pytest.raises(StudyError) as error:
        load(tmp_path, text)
    messages = str(error.value).splitlines()
    place = f"{tmp_path / 'study.yaml'}:{line}: "
    assert any(
        message.startswith(place) and all(fragment in message for fragment in fragments) for message in messages
    ), messages


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as error:
        load(tmp_path, changed(23, "seed: x").replace("sampler: gp", "sampler: x").replace("[4, 8, 16]", "4"))
    assert len(str(error.value).splitlines()) == 3


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"cannot be read \(No such file or directory\)"):
        load_study(tmp_path / "missing.yaml")
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"study: a\ncommand: \xff\n")
    with pytest.raises(StudyError, match=r"latin.yaml:2: expected UTF-8"):
        load_study(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(StudyError, match="at most 1048576 bytes"):
        load_study(tmp_path / "large.yaml")
