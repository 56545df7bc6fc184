"""TrainingArguments: the proposal's values go in before anything is derived from them, and are read back.

`__post_init__` is where every way of construction passes (direct, HfArgumentParser, parse_dict, Seq2Seq). A
subclass that derives values before it calls ours is wrapped through `__init_subclass__`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import sys
from typing import Any

from . import harness, proposal
from .session import plain, reject
from .stop import Rejected

_MARK = "_paceline_inside_post_init"
_WRAPPED = "_paceline_wrapped"


def patch(module: Any) -> None:
    """Wrap TrainingArguments of transformers.training_args."""
    if not proposal.given():
        return
    base = module.TrainingArguments
    _wrap(base)
    inherited = base.__dict__.get("__init_subclass__")

    def init_subclass(cls: Any, /, **keywords: Any) -> None:
        if inherited is not None:
            inherited.__func__(cls, **keywords)
        else:
            super(base, cls).__init_subclass__(**keywords)
        if not hasattr(cls.__post_init__, _WRAPPED):  # its own, or that of a mixin before ours
            _wrap(cls)

    base.__init_subclass__ = classmethod(init_subclass)


def _wrap(cls: Any) -> None:
    original = cls.__post_init__

    @functools.wraps(original)
    def __post_init__(self: Any, *args: Any, **keywords: Any) -> None:
        if getattr(self, _MARK, False):
            original(self, *args, **keywords)
            return
        object.__setattr__(self, _MARK, True)
        try:
            _apply(self, copied=_called_by_replace())
            original(self, *args, **keywords)
        finally:
            object.__delattr__(self, _MARK)

    setattr(__post_init__, _WRAPPED, True)
    cls.__post_init__ = __post_init__


def _called_by_replace() -> bool:
    """Whether dataclasses.replace makes this object: a copy keeps what the script chose to change."""
    frame = sys._getframe(2)
    codes = [frame.f_back.f_code, frame.f_back.f_back.f_code] if frame.f_back and frame.f_back.f_back else []
    own = {getattr(dataclasses, name).__code__ for name in ("replace", "_replace") if hasattr(dataclasses, name)}
    return any(code in own for code in codes)


def _apply(args: Any, copied: bool) -> None:
    names = {field.name for field in dataclasses.fields(args)}
    try:
        _check_names(names)
    except Rejected as rejected:
        raise reject(rejected) from None
    values = {} if copied else proposal.section("arguments")
    for name, value in {**values, **harness.argument_overrides(names)}.items():
        setattr(args, name, value)


def _check_names(names: set[str]) -> None:
    expected = [*proposal.section("arguments"), *proposal.section("expects").get("arguments", ())]
    for name in expected:
        if name not in names:
            version = getattr(sys.modules.get("transformers"), "__version__", "of this job")
            close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise Rejected(
                "unknown_name", f"transformers {version} has no TrainingArguments field {name!r}{hint}"
            )


def effective(args: Any) -> dict[str, Any]:
    """What the arguments are now, as JSON values; secrets are masked by transformers itself."""
    values: dict[str, Any] = plain(args.to_dict())
    return values


def check_effective(args: Any) -> None:
    """Raises Rejected for the first proposed or harness value that is not what the Trainer will use."""
    actual = effective(args)
    names = {field.name for field in dataclasses.fields(args)}
    wanted = {**proposal.section("arguments"), **harness.argument_overrides(names)}
    for name, value in wanted.items():
        if not same(value, actual.get(name)):
            wanted_text, has = json.dumps(value), json.dumps(actual.get(name))
            raise Rejected(
                "not_effective",
                f"{name}={wanted_text} did not take effect (the Trainer has {has}): a script sets it later",
            )


def same(wanted: Any, actual: Any) -> bool:
    """Equal up to what transformers itself normalises: numbers by value, `none` as an empty list."""
    if isinstance(wanted, bool) or isinstance(actual, bool):
        return wanted is actual
    if isinstance(wanted, (int, float)) and isinstance(actual, (int, float)):
        return float(wanted) == float(actual)
    if isinstance(actual, list):
        return actual == ([] if wanted == "none" else wanted if isinstance(wanted, list) else [wanted])
    return bool(wanted == actual)
