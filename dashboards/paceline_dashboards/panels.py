"""Panels as rows of a table: what is asked, in which unit, and what it means; one look for all of them.

What is unknown has no series; every panel says *n/a* then, and a gap in a curve stays a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from grafana_foundation_sdk.builders import bargauge, common, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus as query
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Builder: TypeAlias = bargauge.Panel | stat.Panel | table.Panel | timeseries.Panel
Unit = Literal[
    "none",
    "short",
    "s",
    "bytes",
    "Bps",
    "hertz",
    "watt",
    "celsius",
    "percentunit",
    "suffix: tokens/s",
    "suffix: samples/s",
    "suffix:/s",
]

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
NOT_KNOWN = "n/a"
RATE = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """One PromQL expression of a panel."""

    expression: str
    legend: str = ""
    """Of its series; in a table of values, the column's title."""


@dataclass(frozen=True)
class Panel:
    """One panel. Widths are of 24 columns, heights of about 30 pixels."""

    title: str
    text: str
    """What it shows and how to read it."""
    queries: Sequence[Query]
    unit: Unit = "short"
    kind: Literal["lines", "stack", "stat", "name", "bars", "info", "values"] = "lines"
    """name: the legend of what holds. info: a table of one info series, its labels are the columns. values: a
    table with a column per query."""
    width: int = 8
    height: int = 8
    words: Mapping[str, str] = field(default_factory=dict)
    """Value -> the word shown instead."""
    columns: Sequence[str] = ()
    """Of a table: labels to show, in order."""
    link: tuple[str, str] = ("", "")
    """Of a table: title and address behind each row; `${__data.fields.NAME}` is the row's own value."""
    floor: float | None = 0.0
    """Lowest value of the axis; None: as the data."""


@dataclass(frozen=True)
class Row:
    """A heading and what stands below it."""

    title: str
    panels: Sequence[Panel]


def make(panel: Panel) -> Builder:
    """The panel as Grafana has it."""
    builder = _MAKERS[panel.kind](panel)
    builder.title(panel.title).description(panel.text).datasource(SOURCE)
    builder.span(panel.width).height(panel.height).unit(panel.unit).no_value(NOT_KNOWN)
    builder.mappings(_mappings(panel.words))
    if panel.kind not in ("info", "values") and panel.floor is not None:
        builder.min(panel.floor)
    if panel.link[1]:
        behind = build.DashboardLink(panel.link[0]).type(model.DashboardLinkType.LINK)
        builder.data_links([behind.url(f"{panel.link[1]}&${{__url_time_range}}")])
    for number, one in enumerate(panel.queries):
        builder.with_target(_target(one, chr(ord("A") + number), panel.kind))
    return builder


def _target(one: Query, ref: str, kind: str) -> query.Dataquery:
    target = query.Dataquery().expr(one.expression).ref_id(ref).legend_format(one.legend).datasource(SOURCE)
    if kind in ("info", "values"):
        return target.instant().format(PromQueryFormat.TABLE)
    return target.instant() if kind in ("stat", "name", "bars") else target.range()


def _mappings(words: Mapping[str, str]) -> list[model.ValueMapping]:
    unknown = model.DashboardSpecialValueMapOptions(
        match=model.SpecialValueMatch.NULL_AND_NAN, result=model.ValueMappingResult(text=NOT_KNOWN, color="text")
    )
    mappings: list[model.ValueMapping] = [model.SpecialValueMap(options=unknown)]
    if words:
        named = {value: model.ValueMappingResult(text=word) for value, word in words.items()}
        mappings.append(model.ValueMap(options=named))
    return mappings


def _lines(panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).display_mode(look.LegendDisplayMode.LIST)
    tooltip = common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI).sort(look.SortOrder.DESCENDING)
    return (
        timeseries.Panel()
        .legend(legend.placement(look.LegendPlacement.BOTTOM).calcs([]))
        .tooltip(tooltip)
        .line_width(1)
        .fill_opacity(8)
        .show_points(look.VisibilityMode.NEVER)
        .span_nulls(False)
    )


def _stack(panel: Panel) -> timeseries.Panel:
    stacking = common.StackingConfig().mode(look.StackingMode.NORMAL)
    return _lines(panel).stacking(stacking).fill_opacity(70).line_width(0)


def _reduce() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(_reduce())
        .color_mode(look.BigValueColorMode.NONE)
        .graph_mode(look.BigValueGraphMode.NONE)
        .text_mode(
            look.BigValueTextMode.VALUE_AND_NAME if panel.queries[0].legend else look.BigValueTextMode.VALUE
        )
    )


def _name(panel: Panel) -> stat.Panel:
    return _stat(panel).text_mode(look.BigValueTextMode.NAME)


def _bars(panel: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .reduce_options(_reduce())
        .display_mode(look.BarGaugeDisplayMode.BASIC)
        .orientation(look.VizOrientation.HORIZONTAL)
    )


def _info(panel: Panel) -> table.Panel:
    builder = table.Panel().with_transformation(_keep(panel.columns))
    order = {name: number for number, name in enumerate(panel.columns)}
    return builder.with_transformation(model.DataTransformerConfig("organize", options={"indexByName": order}))


def _values(panel: Panel) -> table.Panel:
    """A column per query, joined on the label that all of them have."""
    key = panel.columns[0]
    titles = {f"Value #{chr(ord('A') + number)}": one.legend for number, one in enumerate(panel.queries)}
    builder = table.Panel()
    joined = {"byField": key, "mode": "outer"}
    builder.with_transformation(model.DataTransformerConfig("joinByField", options=joined))
    builder.with_transformation(_keep([*panel.columns, *titles]))
    return builder.with_transformation(model.DataTransformerConfig("organize", options={"renameByName": titles}))


def _keep(names: Sequence[str]) -> model.DataTransformerConfig:
    return model.DataTransformerConfig("filterFieldsByName", options={"include": {"names": list(names)}})


_MAKERS: Mapping[str, Callable[[Panel], Builder]] = {
    "lines": _lines,
    "stack": _stack,
    "stat": _stat,
    "name": _name,
    "bars": _bars,
    "info": _info,
    "values": _values,
}


def variable(name: str, label: str, metric: str, choose_many: bool) -> build.QueryVariable:
    """A variable whose values are a label's, on series of `metric`."""
    text = f"label_values({metric}, {name})"
    made = (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(text)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.NATURAL_ASC)
        .multi(choose_many)
        .include_all(choose_many)
    )
    return made.all_value(".*") if choose_many else made


def link(title: str, uid: str, tooltip: str) -> build.DashboardLink:
    """To another dashboard, at the same time."""
    made = build.DashboardLink(title).type(model.DashboardLinkType.LINK).url(f"/d/{uid}")
    return made.tooltip(tooltip).icon("dashboard").keep_time(True)


def make_dashboard(
    title: str,
    uid: str,
    text: str,
    variables: Sequence[build.QueryVariable],
    links: Sequence[build.DashboardLink],
    rows: Sequence[Row],
) -> model.Dashboard:
    """Rows of panels under the variables, the first of which is always the data source."""
    made = (
        build.Dashboard(title).uid(uid).description(text).tags(["paceline"]).time("now-1h", "now").refresh("30s")
    )
    made.tooltip(model.DashboardCursorSync.CROSSHAIR).readonly().links(list(links))
    made.with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for one in variables:
        made.with_variable(one)
    for row in rows:
        made.with_row(build.Row(row.title))
        for panel in row.panels:
            made.with_panel(make(panel))
    built = made.build()
    for number, placed in enumerate(built.panels or [], 1):
        placed.id_val = number
    return built
