"""Windows count once, however often they come."""

from __future__ import annotations

import sqlite3
from contextlib import closing


def stored(cluster, run_id):
    with closing(sqlite3.connect(f"file:{cluster.tuner.database}?mode=ro", uri=True)) as database:
        return database.execute(
            "select first, last from paceline_windows join paceline_rings using (ring) "
            "where run_id = ? and rank = 0 order by first",
            (run_id,),
        ).fetchall()


def test_repeats_and_overlaps_count_once(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    for first, steps in ((0, 5), (0, 5), (2, 6), (1, 3), (8, 4)):
        marks = cluster.windows(*ring_reports(proposal, first=first, steps=steps, ended=False))
    assert {mark["next_record"] for mark in marks.values()} == {12}
    assert stored(cluster, proposal["run_id"]) == [(0, 4), (5, 7), (8, 11)]
    cluster.windows(*ring_reports(proposal))
    assert cluster.end(proposal)["outcome"] == "finished"
    assert cluster.view()["trials"][0]["runs"][0]["summary"]["aligned_steps"] == 10


def test_marks_say_where_the_reporter_goes_on(study, ring_reports):
    cluster = study()
    report = ring_reports(cluster.next(), steps=3, kinds=("start", "first_step"))[0]
    mark = cluster.windows(report)[report["ring"]]
    assert mark == {"next_record": 3, "next_event": 3, "generation": 1, "known": True}
    report |= {"generation": 4, "header": None}
    assert cluster.windows(report)[report["ring"]]["generation"] == 1
    report |= {"generation": 4, "header": {"effective": {}}}
    assert cluster.windows(report)[report["ring"]]["generation"] == 4


def test_runs_of_others_are_not_kept(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    stranger = ring_reports(proposal | {"run_id": "somebody-elses"})[0]
    assert cluster.windows(stranger)[stranger["ring"]]["known"] is False
    mine = ring_reports(proposal)[0]
    cluster.windows(mine)
    assert cluster.windows(mine | {"run_id": "somebody-elses"})[mine["ring"]]["known"] is False
    assert stored(cluster, "somebody-elses") == []


def test_a_restarted_attempt_replays_steps(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    cluster.windows(*ring_reports(proposal, seconds=9.0, steps=6, ended=False))
    cluster.windows(*ring_reports(proposal, seconds=0.1, attempt=1))
    assert cluster.end(proposal)["outcome"] == "finished"
    assert cluster.view()["trials"][0]["value"] > 100


def test_malformed_reports_are_refused_and_nothing_is_kept(study, ring_reports):
    cluster = study()
    proposal = cluster.next()
    good, bad = ring_reports(proposal)
    for change, words in (
        ({"rank": 7}, "rank"),
        ({"world_size": 10**9}, "world_size"),
        ({"window": {"first": 3, "last": 1, "columns": {}}}, "first"),
        ({"window": {"first": 0, "last": 1, "columns": {"step": [1.0]}}}, "step"),
        ({"window": {"first": 0, "last": 10**30, "columns": {}}}, "last"),
        ({"node": "\ud800"}, "stored"),
    ):
        report = {"reporter": "run", "node": "a", "rings": [good, bad | change]}
        status, answer = cluster.tuner.call("POST", "/v1/windows", report)
        assert status == 400, answer
        assert words in answer["error"]["message"]
    assert stored(cluster, proposal["run_id"]) == []
