from __future__ import annotations

import gzip
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from paceline_exporters.metrics import (
    SLACK,
    Distribution,
    Family,
    FamilyError,
    Renderer,
    Samples,
    check_owners,
    exposition,
    exposition_gzip,
    label_text,
)

SECONDS = Family("paceline_wait_seconds_total", 'Time with a \\ and a "quote".', "counter", "seconds", ("who",))
LOSS = Family("paceline_loss", "Loss.", "gauge", "", ("who",))
ABOUT = Family("paceline_about_info", "About.", "info", "", ("who", "version"))
TOOK = Family("paceline_took_seconds", "Took.", "histogram", "seconds", ("who",))
FAMILIES = (SECONDS, LOSS, ABOUT, TOOK)


def filled() -> Samples:
    took = Distribution((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        took.observe(value)
    samples = Samples()
    samples.add(SECONDS, 12.5, "a")
    samples.add(SECONDS, 3, "b")
    samples.add(LOSS, math.inf, "a")
    samples.add(LOSS, math.nan, "b")
    samples.add(LOSS, None, "c")
    samples.add(ABOUT, 1, "a", "")
    samples.add(TOOK, took, "a")
    return samples


def test_text_format() -> None:
    section = Renderer(FAMILIES, 100).render(filled())
    assert exposition([section], "text").decode() == (
        '# HELP paceline_wait_seconds_total Time with a \\\\ and a "quote".\n'
        "# TYPE paceline_wait_seconds_total counter\n"
        'paceline_wait_seconds_total{who="a"} 12.5\n'
        'paceline_wait_seconds_total{who="b"} 3\n'
        "# HELP paceline_loss Loss.\n"
        "# TYPE paceline_loss gauge\n"
        'paceline_loss{who="a"} +Inf\n'
        "# HELP paceline_about_info About.\n"
        "# TYPE paceline_about_info gauge\n"
        'paceline_about_info{who="a"} 1\n'
        "# HELP paceline_took_seconds Took.\n"
        "# TYPE paceline_took_seconds histogram\n"
        'paceline_took_seconds_bucket{who="a",le="0.1"} 2\n'
        'paceline_took_seconds_bucket{who="a",le="1.0"} 3\n'
        'paceline_took_seconds_bucket{who="a",le="+Inf"} 4\n'
        'paceline_took_seconds_sum{who="a"} 7.65\n'
        'paceline_took_seconds_count{who="a"} 4\n'
    )


def test_openmetrics_differs_in_metadata_only() -> None:
    section = Renderer(FAMILIES, 100).render(filled())
    text, openmetrics = (exposition([section], form).decode().splitlines() for form in ("text", "openmetrics"))
    assert [line for line in text if line[0] != "#"] == [line for line in openmetrics if line[0] != "#"]
    assert [line for line in openmetrics if line[0] == "#"] == [
        '# HELP paceline_wait_seconds Time with a \\\\ and a \\"quote\\".',
        "# TYPE paceline_wait_seconds counter",
        "# UNIT paceline_wait_seconds seconds",
        "# HELP paceline_loss Loss.",
        "# TYPE paceline_loss gauge",
        "# HELP paceline_about About.",
        "# TYPE paceline_about info",
        "# HELP paceline_took_seconds Took.",
        "# TYPE paceline_took_seconds histogram",
        "# UNIT paceline_took_seconds seconds",
        "# EOF",
    ]


def test_both_formats_parse() -> None:
    section = Renderer(FAMILIES, 100).render(filled())
    text = list(parse_text(exposition([section], "text").decode()))
    openmetrics = list(parse_openmetrics(exposition([section], "openmetrics").decode()))
    assert [(family.name, family.type) for family in openmetrics] == [
        ("paceline_wait_seconds", "counter"),
        ("paceline_loss", "gauge"),
        ("paceline_about", "info"),
        ("paceline_took_seconds", "histogram"),
    ]
    values = [
        {(s.name, *s.labels.items()): s.value for f in parsed for s in f.samples}
        for parsed in (text, openmetrics)
    ]
    assert values[0] == values[1]


def test_gzip_is_one_member_with_the_same_text() -> None:
    renderer = Renderer(FAMILIES, 100)
    sections = [renderer.render(filled()), Renderer((LOSS,), 100).render(Samples())]
    for form in ("text", "openmetrics"):
        assert gzip.decompress(exposition_gzip(sections, form)) == exposition(sections, form)
        assert exposition_gzip(sections, form).count(b"\x1f\x8b\x08") == 1


@given(st.text())
def test_labels_survive_both_parsers(value: str) -> None:
    line = f"paceline_loss{label_text(('who',), (value,))} 1\n"
    expected = {"who": value.encode("utf-8", "replace").decode()} if value else {}
    [family] = parse_text(line)
    assert family.samples[0].labels == expected
    [family] = parse_openmetrics(line + "# EOF\n")
    assert family.samples[0].labels == expected


def test_the_same_samples_cost_nothing() -> None:
    renderer, samples = Renderer(FAMILIES, 100), filled()
    assert renderer.render(samples) is renderer.render(samples)


def test_a_sample_that_says_the_same_keeps_its_section() -> None:
    renderer = Renderer(FAMILIES, 10)
    first = renderer.render(_losses("a", "b"))
    assert renderer.render(_losses("b", "a")) is first
    assert renderer.render(_losses("a")) is not first


def test_what_changed_is_rendered_and_what_is_gone_is_left_out() -> None:
    renderer = Renderer(FAMILIES, 10)
    samples = _losses("a", "b")
    samples.add(SECONDS, 1.0, "a")
    renderer.render(samples)
    samples = _losses("a", "b")
    samples.add(SECONDS, 2.0, "a")
    section = renderer.render(samples)
    assert b'paceline_loss{who="b"}' in section.plain("text")
    assert b'paceline_wait_seconds_total{who="a"} 2.0\n' in section.plain("text")
    assert section.series == 3
    section = renderer.render(_losses("a", "b"))
    assert b"paceline_wait_seconds_total" not in section.plain("text")


def test_a_distribution_that_grew_in_its_place_is_rendered() -> None:
    renderer, took = Renderer(FAMILIES, 10), Distribution((1.0,))
    for count in (1, 2):
        took.observe(0.5)
        samples = Samples()
        samples.add(TOOK, took, "a")
        assert f'paceline_took_seconds_count{{who="a"}} {count}\n'.encode() in renderer.render(samples).plain(
            "text"
        )


def test_what_found_no_room_is_counted_though_it_did_not_change() -> None:
    renderer = Renderer(FAMILIES, 1)
    for count in (1, 2, 3):
        renderer.render(_losses("a", "b"))
        assert renderer.dropped == count


def test_series_that_are_gone_are_forgotten_in_time() -> None:
    renderer = Renderer(FAMILIES, 10**6)
    for number in range(10 * SLACK):
        renderer.render(_losses(f"run-{number}", "stays"))
        assert renderer.known <= 2 * 2 + SLACK + 2
    assert b'"stays"' in renderer.render(_losses("stays")).plain("text")


def test_over_the_budget_the_last_to_come_are_dropped_and_counted() -> None:
    renderer = Renderer((LOSS,), 2)
    assert b'"c"' not in renderer.render(_losses("a", "b", "c")).plain("text")
    assert renderer.dropped == 1
    again = renderer.render(_losses("c", "a", "b")).plain("text")
    assert b'"c"' not in again and b'"a"' in again and b'"b"' in again
    assert renderer.dropped == 2
    assert b'"c"' in renderer.render(_losses("c", "a")).plain("text"), "a series that left gives its room back"
    assert renderer.dropped == 2


def test_a_histogram_takes_as_much_of_the_budget_as_it_has_lines() -> None:
    renderer, samples = Renderer(FAMILIES, 9), Samples()
    for who in "abc":
        samples.add(TOOK, Distribution((1.0,)), who)
    section = renderer.render(samples)
    assert section.series == section.plain("text").count(b"took_seconds_") == 8
    assert renderer.dropped == 4
    samples = Samples()
    samples.add(TOOK, Distribution((1.0,)), "c")
    samples.add(LOSS, 1.0, "a")
    assert renderer.render(samples).series == 5
    assert renderer.dropped == 4


def _losses(*names: str) -> Samples:
    samples = Samples()
    for name in names:
        samples.add(LOSS, 1.0, name)
    return samples


def test_a_family_that_was_not_declared_is_refused() -> None:
    with pytest.raises(FamilyError, match="paceline_loss"):
        Renderer((SECONDS,), 10).render(_losses("a"))


def test_two_sources_cannot_claim_one_family() -> None:
    with pytest.raises(FamilyError, match=r"paceline_loss.*one and two"):
        check_owners([("one", (LOSS, SECONDS)), ("two", (Family("paceline_loss", "Mine.", "gauge"),))])


def test_a_counter_and_a_gauge_of_one_stem_are_one_family() -> None:
    with pytest.raises(FamilyError, match="paceline_wait_seconds"):
        check_owners([("one", (SECONDS,)), ("two", (Family("paceline_wait_seconds", "Mine.", "gauge"),))])


@pytest.mark.parametrize(
    ("name", "kind", "unit", "labels"),
    [
        ("paceline_things", "counter", "", ()),
        ("paceline_things", "info", "", ()),
        ("paceline-things", "gauge", "", ()),
        ("paceline_wait_total", "counter", "seconds", ()),
        ("paceline_loss", "gauge", "", ("job",)),
        ("paceline_loss", "gauge", "", ("pid",)),
        ("paceline_loss", "gauge", "", ("who", "who")),
    ],
)
def test_badly_declared_families(name: str, kind: str, unit: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(FamilyError, match=name):
        Family(name, "Wrong.", kind, unit, labels)  # type: ignore[arg-type]


def test_only_keeps_the_families_asked_for() -> None:
    section = Renderer(FAMILIES, 100).render(filled()).only({LOSS})
    assert exposition([section], "text").startswith(b"# HELP paceline_loss")
    assert section.series == 1
