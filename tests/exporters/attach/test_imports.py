from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

FAKE_TRAINER = """
class Trainer:
    def train(self):
        return "trained"
"""


def fake_transformers(directory: Path, **modules: str) -> dict[str, str]:
    """The outside world: a package that bears the name, and not much more."""
    package = directory / "fake" / "transformers"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.1"\n')
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
    return {"FAKE": str(directory / "fake")}


IMPORT = "import sys, os\nsys.path.insert(0, os.environ['FAKE'])\n"


def test_a_trainer_we_do_not_know_still_trains(attached: Callable[..., Any], tmp_path: Path) -> None:
    environment = fake_transformers(tmp_path, trainer=FAKE_TRAINER)
    script = (
        IMPORT
        + "from transformers.trainer import Trainer\nassert Trainer().train() == 'trained'\nprint('RESULT 1')\n"
    )
    told = attached(script, environment=environment)
    assert told.printed() == 1, told.output
    assert len(told.notices()) == 1
    assert told.notices()[0].startswith(
        "paceline: hooking transformers.trainer failed, training goes on without it"
    )


def test_a_trainer_without_the_methods_we_wrap_still_trains_twice(
    attached: Callable[..., Any], tmp_path: Path
) -> None:
    text = (
        "class Trainer:\n    args = None\n    model = None\n    eval_dataset = None\n"
        "    def train(self, resume_from_checkpoint=None):\n        return 'trained'\n"
        "    def evaluate(self):\n        return {'eval_loss': 1.0}\n"
    )
    environment = fake_transformers(tmp_path, trainer=text)
    script = IMPORT + (
        "from transformers.trainer import Trainer\n"
        "one = Trainer()\nassert one.train() == one.train() == 'trained'\n"
        "assert one.evaluate() == {'eval_loss': 1.0}\nassert one.__dict__ == {}\nprint('RESULT 1')\n"
    )
    told = attached(script, environment=environment)
    assert told.printed() == 1, told.output
    assert [line.split(" failed")[0] for line in told.notices()] == [
        "paceline: hooking transformers.trainer",
        "paceline: watching the Trainer",
        "paceline: recording an evaluation",
    ]


def test_asking_where_a_module_is_does_not_spend_its_hook(attached: Callable[..., Any], tmp_path: Path) -> None:
    environment = fake_transformers(tmp_path, trainer=FAKE_TRAINER + "    evaluate = train\n")
    script = IMPORT + (
        "import importlib.util\n"
        "found = importlib.util.find_spec('transformers.trainer')\n"
        "from transformers.trainer import Trainer\n"
        "assert Trainer.train.__wrapped__ and not hasattr(Trainer.train.__wrapped__, '__wrapped__')\n"
        "import transformers.trainer as module, importlib, inspect\n"
        "assert 'trained' in inspect.getsource(module)\n"
        "assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == 'SourceFileLoader'\n"
        "print('RESULT 1')\n"
    )
    assert attached(script, environment=environment).printed() == 1


def test_a_module_that_fails_to_import_fails_as_it_would_without_us(
    attached: Callable[..., Any], tmp_path: Path
) -> None:
    environment = fake_transformers(tmp_path, trainer="raise ImportError('of its own')\n")
    script = IMPORT + (
        "for attempt in range(2):\n"
        "    try:\n        import transformers.trainer\n"
        "    except ImportError as error:\n        assert str(error) == 'of its own'\n"
        "print('RESULT 1')\n"
    )
    told = attached(script, environment=environment)
    assert told.printed() == 1
    assert told.notices() == []
