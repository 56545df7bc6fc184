"""A small, ordinary Hugging Face training script, as a user would write it: it knows nothing of Paceline.

A GPT-2-architecture model from scratch on the standard library's own documentation (`pydoc_data.topics`), one
token per byte, no download.

    torchrun --nproc-per-node 2 train.py --output_dir out --max_steps 200
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pydoc_data import topics

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, HfArgumentParser, Trainer, TrainingArguments


@dataclass
class ModelArguments:
    """Size of the model and of its sequences."""

    layers: int = field(default=4, metadata={"help": "transformer blocks"})
    width: int = field(default=256, metadata={"help": "embedding width"})
    length: int = field(default=128, metadata={"help": "tokens per sequence"})


class Bytes(Dataset[dict[str, torch.Tensor]]):
    """Consecutive pieces of a text, one token per byte."""

    def __init__(self, corpus: bytes, length: int) -> None:
        tokens = torch.frombuffer(bytearray(corpus), dtype=torch.uint8)
        self.pieces = tokens[: len(tokens) // length * length].view(-1, length)

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = self.pieces[index].long()
        return {"input_ids": ids, "labels": ids}


def text() -> bytes:
    """The standard library's documentation, about 700 kB."""
    return "\n".join(topics.topics[name] for name in sorted(topics.topics)).encode()


def main() -> None:
    """Train, evaluate, save."""
    sizes, arguments = HfArgumentParser((ModelArguments, TrainingArguments)).parse_args_into_dataclasses()
    corpus = text()
    held_out = len(corpus) // 20
    torch.manual_seed(arguments.seed)
    config = GPT2Config(
        vocab_size=256,
        n_positions=sizes.length,
        n_embd=sizes.width,
        n_layer=sizes.layers,
        n_head=sizes.width // 64,
        bos_token_id=0,
        eos_token_id=0,
    )
    trainer = Trainer(
        model=GPT2LMHeadModel(config),
        args=arguments,
        train_dataset=Bytes(corpus[:-held_out], sizes.length),
        eval_dataset=Bytes(corpus[-held_out:], sizes.length),
    )
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # gloo's teardown can deadlock on the work of a gather that just ended
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
