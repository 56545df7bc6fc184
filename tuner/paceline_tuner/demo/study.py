"""The demo's study file: a job as many people run it, and the knobs that could make it faster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

TRAIN = Path(__file__).with_name("train.py")
NAME = "demo"

_STUDY = """\
# What `paceline tune` reads. The job is an ordinary Trainer script; its batch was once set to 1 to be safe.
study: {name}
command: {command}
knobs:
  per_device_train_batch_size: [1, 2, 4, 8, 16]
  ddp.bucket_cap_mb: [unset, 1, 5]
  ddp.find_unused_parameters: [true, false]
hold: global_batch            # accumulation follows, so that the training stays the same
objective: {{throughput: tokens, warmup_steps: 5, measure_steps: 20}}
budget: {{trials: {trials}, run: 3m, hang: 60s}}
proof: {{min_pairs: 6, max_pairs: {max_pairs}, width: 5%}}
seed: 7
"""


def gpus() -> int:
    """NVIDIA GPUs of this machine, by their device nodes."""
    return len([node for node in Path("/dev").glob("nvidia[0-9]*") if node.name[6:].isdecimal()])


def job(output: Path) -> list[str]:
    """The user's own command, without Paceline: NCCL where there are two GPUs, else gloo on the CPU."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    size = ["--layers", "4", "--width", "128", "--length", "64"]
    batch = ["--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "16"]
    device = [] if gpus() >= 2 else ["--use_cpu", "True"]
    quiet = ["--disable_tqdm", "True", "--max_steps", "200"]
    return [*launcher, str(TRAIN), "--output_dir", str(output), *size, *batch, *device, *quiet]


def study_file(output: Path, trials: int, max_pairs: int) -> str:
    """The study file's text."""
    return _STUDY.format(name=NAME, command=shlex.join(job(output)), trials=trials, max_pairs=max_pairs)
