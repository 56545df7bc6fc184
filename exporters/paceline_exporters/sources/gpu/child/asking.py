"""Asking one GPU for tables of readings, and remembering what it does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .nvml import Failed, Handle, Lost, Nvml, Unsupported
from .readings import Call, Field, Found, scaled

Values = dict[str, "float | dict[str, float | dict[str, float]]"]
"""Name -> value, or label -> value, or label -> link -> value."""


class Asker:
    """One GPU's answers. What it does not support is not asked again before `forget`."""

    def __init__(self, nvml: Nvml, handle: Handle) -> None:
        self._nvml = nvml
        self._handle = handle
        self._lacking: set[Call] = set()
        self._ladders: dict[int, list[list[Field]]] = {}
        """Table, by identity -> its rows by name and label; the first of each is the one to ask."""
        self._known: set[int] = set()
        """Rows of several fields, by identity, of which some were answered once."""
        self.answered = 0
        """Calls that were answered, or known to be unsupported, since `expect`."""
        self.failed: Failed | None = None
        """The latest that was neither."""

    def expect(self) -> None:
        """Begin to count answers."""
        self.answered, self.failed = 0, None

    def forget(self) -> None:
        """What was not supported may be from here on."""
        self._lacking.clear()
        self._ladders.clear()

    def check_alive(self) -> None:
        """Raises Lost when nothing was answered since `expect`: a GPU that fails every call is lost."""
        if self.failed is not None and not self.answered:
            raise Lost(str(self.failed))

    def calls(self, rows: Sequence[Sequence[Call]], values: Values) -> None:
        """Ask each row's first call that is supported. Raises Lost or DriverGone."""
        for row in rows:
            for call in row:
                if call not in self._lacking and self._ask(call, values):
                    break

    def fields(self, rows: Sequence[Field], values: Values) -> None:
        """All fields in one call. Raises Lost or DriverGone."""
        ladders = self._ladders.get(id(rows))
        if ladders is None:
            ladders = self._ladders[id(rows)] = _ladders(rows, self._nvml.driver_major)
        unanswered = ladders
        while unanswered:
            unanswered = self._ask_fields(unanswered, values)
        ladders[:] = [ladder for ladder in ladders if ladder]

    def _ask_fields(self, ladders: Sequence[list[Field]], values: Values) -> list[list[Field]]:
        """Ask each one's first row; those whose next is to be asked."""
        steps = [ladder[0] for ladder in ladders]
        try:
            answers = iter(self._nvml.fields(self._handle, [field for step in steps for field in step.fields]))
        except Unsupported:
            for ladder in ladders:
                ladder.clear()
            return []
        except Lost:
            raise
        except Failed as error:
            self.failed = error
            return []
        self.answered += 1
        taken = [self._take(step, [next(answers) for _ in step.fields], values) for step in steps]
        lacking = [ladder for ladder, is_known in zip(ladders, taken, strict=True) if not is_known]
        for ladder in lacking:
            del ladder[0]
        return [ladder for ladder in lacking if ladder]

    def _take(self, row: Field, answers: Sequence[float | Failed], values: Values) -> bool:
        """False where the driver knows none of the row's fields. Raises Lost."""
        numbers: dict[str, float] = {}
        for place, answer in enumerate(answers):
            if isinstance(answer, Lost):
                raise answer
            if not isinstance(answer, Failed):
                numbers[str(place)] = scaled(answer, row.times, row.per)
        if len(row.fields) == 1:
            put(values, ((row.name, row.label, number) for number in numbers.values()))
        elif numbers or id(row) in self._known:  # links that are down may answer no more: there they are still
            self._known.add(id(row))
            values.setdefault(row.name, {})[row.label] = numbers  # type: ignore[index] # as in put
            return True
        return any(not isinstance(answer, Unsupported) for answer in answers)

    def _ask(self, call: Call, values: Values) -> bool:
        """False where the next of the row is to be asked."""
        try:
            result = self._nvml.call(call.function, self._handle, *call.arguments)
        except Unsupported:
            self._lacking.add(call)
            return False
        except Lost:
            raise
        except Failed as error:
            self.failed = error
            return True
        self.answered += 1
        put(values, call.take(result))
        return True


def put(values: Values, found: Iterable[Found]) -> None:
    """Add what was found; unknown values are left out."""
    for name, label, value in found:
        if value is None:
            continue
        if label:
            values.setdefault(name, {})[label] = value  # type: ignore[index] # a name has labels always, or never
        else:
            values[name] = value


def _ladders(rows: Sequence[Field], driver_major: int) -> list[list[Field]]:
    ladders: dict[tuple[str, str], list[Field]] = {}
    for row in rows:
        if driver_major >= row.least_driver:
            ladders.setdefault((row.name, row.label), []).append(row)
    return list(ladders.values())
