"""One frame: runs with their ranks, then nodes, as wide and as high as the terminal is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from ..diagnosis.text import printable
from .live import LiveRank, LiveRun
from .scrape import Gpu
from .watch import Cluster, Node

# Phase -> its letter in the bar, and its colour.
PHASES: Mapping[str, tuple[str, str]] = {
    "data_wait": ("d", "yellow"),
    "sync_wait": ("s", "magenta"),
    "forward": ("f", "blue"),
    "backward": ("b", "green"),
    "optimizer": ("o", "cyan"),
    "other": (".", "white"),
}
LEGEND = "d data, s sync, f forward, b backward, o optimizer, . other"
BAR_CELLS = 20
UNKNOWN = "-"
VERDICT_STYLES = {"healthy": "green", "compute_bound": "green", "hung": "bold red", "unknown": "dim"}
FRAME_LINES_PER_RUN = 3
"""Title, verdict, header."""
THROTTLED = 0.05
MARKED = ("slow", "hung", "lost", "failed")
"""States of ranks that are never among the hidden."""


@dataclass(frozen=True)
class Row:
    """What a line of the table shows."""

    run: LiveRun
    rank: LiveRank
    gpu: Gpu
    away: bool
    """Its agent does not answer: what is shown is old."""

    @property
    def slow(self) -> float:
        """What the rank costs all others, as a share of the step."""
        return self.run.diagnosis.stragglers.get(self.rank.rank, 0.0)

    @property
    def state(self) -> str:
        """Empty while all is well."""
        if self.away:
            return "away"
        if self.rank.failed:
            return "failed"
        if not self.rank.alive:
            return "lost" if self.rank.lost else "ended"
        if self.rank.rank in self.run.hung:
            return "hung"
        return "slow" if self.slow else ""

    @property
    def marked(self) -> bool:
        """Whether it is one to look at."""
        return self.state in MARKED


@dataclass(frozen=True)
class Column:
    """Of the table."""

    title: str
    width: int
    weight: int
    """The highest goes first where the terminal is too narrow."""
    cell: Callable[[Row], Text]
    right: bool = True


def _cell(show: Callable[[Row], str], style: str = "") -> Callable[[Row], Text]:
    return lambda row: Text(show(row), style)


def _bar(row: Row) -> Text:
    shares = row.rank.shares()
    bar = Text()
    filled, upto = 0, 0.0
    for phase, (letter, colour) in PHASES.items():
        upto += shares.get(phase, 0.0)
        cells = round(upto * BAR_CELLS) - filled
        bar.append(letter * cells, Style(color="black", bgcolor=colour))
        filled += cells
    return bar


def _memory(row: Row) -> str:
    used, total = row.gpu.memory_used_bytes, row.gpu.memory_total_bytes
    return UNKNOWN if used is None or not total else f"{used / total:.0%}"


def _time(row: Row) -> Text:
    """Of a step; where the run stands still, since the latest one ended."""
    place = row.rank.place
    if not row.run.diagnosis.hung or place is None:
        return Text(seconds(row.rank.step_seconds))
    return Text(seconds(place.seconds if place.step_age is None else place.step_age), "bold red")


def _throttle(row: Row) -> Text:
    share = row.rank.evidence.get("gpu_throttled_ratio")
    return Text(UNKNOWN if share is None else f"{share:.0%}", "red" if (share or 0.0) >= THROTTLED else "")


def _slow(row: Row) -> Text:
    return Text(f"{row.slow:.0%}" if row.slow else "", "bold red")


COLUMNS: Sequence[Column] = (
    Column(
        "RANK",
        5,
        0,
        lambda row: Text(f"{'!' if row.marked else ' '}{row.rank.rank}", "red" if row.marked else ""),
    ),
    Column("NODE", 14, 6, _cell(lambda row: printable(row.rank.node)), right=False),
    Column("STEP", 8, 0, _cell(lambda row: UNKNOWN if row.rank.step is None else str(row.rank.step))),
    Column("TIME", 8, 1, _time),
    Column("PHASES", BAR_CELLS, 3, _bar, right=False),
    Column("WAIT", 5, 5, _cell(lambda row: percent(row.rank.waiting))),
    Column("TOK/S", 7, 4, _cell(lambda row: scaled(row.rank.tokens_per_second))),
    Column("SLOW", 5, 1, _slow),
    Column("GPU", 5, 4, _cell(lambda row: percent(row.gpu.utilization))),
    Column("POWER", 6, 7, _cell(lambda row: unit(row.gpu.power_watts, "W"))),
    Column("TEMP", 5, 8, _cell(lambda row: unit(row.gpu.temperature_celsius, "C"))),
    Column("MEM", 5, 9, _cell(_memory)),
    Column("THROT", 5, 7, _throttle),
    Column("STATE", 6, 2, _cell(lambda row: row.state, "yellow"), right=False),
)


@dataclass(frozen=True)
class Frame:
    """All that is known, for a console of any size."""

    cluster: Cluster

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = list(self._lines(options.max_width, options.height))
        for line in lines:
            line.truncate(
                options.max_width, overflow="ellipsis" if console.encoding.startswith("utf") else "crop"
            )
            line.no_wrap, line.end = True, "\n"
            yield line

    def _lines(self, width: int, height: int | None) -> Iterator[Text]:
        nodes, runs = self.cluster.nodes, sorted(self.cluster.runs.values(), key=lambda run: run.run_id)
        yield Text(f"paceline top: {_count(len(nodes), 'node')}, {_count(len(runs), 'run')}; {LEGEND}", "bold")
        live = [run for run in runs if run.alive]
        ended = sorted((run for run in runs if not run.alive), key=lambda run: -run.last_sign)
        left = None if height is None else height - 1 - len(nodes)
        rooms = _rooms(live, left, bool(ended))
        for run in live:
            yield from _title(run)
            yield from self._table(run, width, rooms[run.run_id])
        used = sum(FRAME_LINES_PER_RUN + room for room in rooms.values())
        yield from _ended(ended, len(ended) if left is None else max(0, left - used))
        for node in nodes.values():
            yield _node(node)

    def _table(self, run: LiveRun, width: int, room: int) -> Iterator[Text]:
        columns = fitting(width)
        yield _line(columns, [Text(column.title) for column in columns], "dim")
        rows = [self._row(run, rank) for _, rank in sorted(run.ranks.items())]
        if len(rows) > room:
            # Those that hold the others up are never among the hidden; where there is one line, it is theirs.
            shown = sorted(rows, key=lambda row: (not row.marked, row.rank.rank))[: max(1, room - 1)]
            rows_left = len(rows) - len(shown) if room > len(shown) else 0
            rows = sorted(shown, key=lambda row: row.rank.rank)
        else:
            rows_left = 0
        for row in rows:
            yield _line(columns, [column.cell(row) for column in columns], "dim" if row.away else "")
        if rows_left:
            yield Text(f"  and {_count(rows_left, 'more rank')}", "dim")

    def _row(self, run: LiveRun, rank: LiveRank) -> Row:
        node = self.cluster.nodes[rank.agent]
        gpu = None
        if node.devices is not None:
            gpu = node.devices.gpus.get(node.devices.of_rank.get((run.run_id, rank.rank), ""))
        return Row(run, rank, gpu or Gpu(), bool(node.trouble))


def _rooms(live: Sequence[LiveRun], lines: int | None, ended: bool) -> dict[str, int]:
    """Lines for the ranks of each run that lives, one at least; `ended`: one line is for those that ended."""
    if lines is None:
        return {run.run_id: len(run.ranks) for run in live}
    lines = max(lines - ended, (FRAME_LINES_PER_RUN + 1) * len(live))
    rooms: dict[str, int] = {}
    for run in sorted(live, key=lambda run: len(run.ranks)):  # what small ones leave is for the large ones
        room = lines // (len(live) - len(rooms)) - FRAME_LINES_PER_RUN
        rooms[run.run_id] = min(len(run.ranks), room)
        lines -= FRAME_LINES_PER_RUN + rooms[run.run_id]
    return rooms


def fitting(width: int) -> list[Column]:
    """The columns that a line has room for."""
    columns = list(COLUMNS)
    while len(columns) > 1 and sum(column.width + 1 for column in columns) - 1 > width:
        columns.remove(max(columns, key=lambda column: column.weight))
    return columns


def _line(columns: Sequence[Column], cells: Sequence[Text], style: str) -> Text:
    line = Text(style=style)
    for column, cell in zip(columns, cells, strict=True):
        cell.truncate(column.width)
        cell.pad_left(column.width - cell.cell_len) if column.right else cell.pad_right(
            column.width - cell.cell_len
        )
        line.append_text(cell).append(" ")
    line.rstrip()
    return line


def _title(run: LiveRun) -> Iterator[Text]:
    title = Text(f"{printable(run.run_id)}  ", "bold")
    yield title.append(f"{len(run.ranks)} of {run.world_size} ranks", "not bold")
    yield Text("  ").append_text(_verdict(run))


def _ended(runs: Sequence[LiveRun], room: int) -> Iterator[Text]:
    """A line each of the first ones, and one for those that there is no room for."""
    shown = runs if len(runs) <= room else runs[: max(0, room - 1)]
    for run in shown:
        how = Text("failed", "bold red") if run.failed else Text("ended", "dim")
        yield Text(f"{printable(run.run_id)}  ", "dim").append_text(how).append(", ").append_text(_verdict(run))
    if room and len(shown) < len(runs):
        yield Text(f"and {_count(len(runs) - len(shown), 'more ended run' if shown else 'ended run')}", "dim")


def _verdict(run: LiveRun) -> Text:
    verdict = run.diagnosis.verdict()
    kind, style = verdict.kind.replace("_", " "), VERDICT_STYLES.get(verdict.kind, "bold yellow")
    return Text().append(kind, style).append(f": {printable(verdict.summary)}")


def _node(node: Node) -> Text:
    name = printable(node.name or node.agent)
    if node.trouble:
        return Text(f"{name}  ", "bold").append(
            f"away: {printable(node.trouble.removeprefix(node.agent).lstrip(': '))}", "yellow"
        )
    if node.devices is None:
        return Text(f"{name}  ", "bold").append("not asked yet", "dim")
    words = [_count(len(node.devices.gpus), "GPU")] if node.devices.gpus else []
    rates = node.rates()
    if rates is not None:
        words.append(
            f"{'RDMA' if node.devices.rdma else 'NIC'} in {scaled(rates[0])}B/s out {scaled(rates[1])}B/s"
        )
    return Text(f"{name}  ", "bold").append(", ".join(words), "not bold")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(value: float | None) -> str:
    """Of a ratio."""
    return UNKNOWN if value is None else f"{value:.0%}"


def unit(value: float | None, name: str) -> str:
    """A whole number and its unit."""
    return UNKNOWN if value is None else f"{value:.0f}{name}"


def seconds(value: float | None) -> str:
    """In the unit that suits."""
    if value is None:
        return UNKNOWN
    return f"{value * 1000:.1f}ms" if value < 1 else f"{value:.2f}s"


def scaled(value: float | None) -> str:
    """With a decimal prefix."""
    if value is None:
        return UNKNOWN
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 1000:
            return f"{value:.3g}{prefix}"
        value /= 1000
    return f"{value:.3g}T"
