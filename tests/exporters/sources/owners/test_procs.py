from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from node_tree import NodeTree

from paceline_exporters.sources.board import Seat
from paceline_exporters.sources.owners.procs import Procs, Sightings


def test_a_real_process_its_parent_and_its_environment() -> None:
    variables = {**os.environ, "SLURM_JOB_ID": "4711", "LOCAL_RANK": "3", "OTHER": "no"}
    script = "import time; print(1, flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script], env=variables, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    procs = Procs(Path("/proc"))
    process = procs.get(child.pid)
    assert process is not None
    assert (process.parent, process.session) == (os.getpid(), os.getsid(0))
    assert process.command.startswith("python")
    assert [one.pid for one in procs.line(process)][:2] == [child.pid, os.getpid()]
    facts = procs.facts(process)
    assert facts.uid == str(os.getuid())
    assert {name: facts.environment[name] for name in ("SLURM_JOB_ID", "LOCAL_RANK")} == {
        "SLURM_JOB_ID": "4711",
        "LOCAL_RANK": "3",
    }
    assert "OTHER" not in facts.environment
    child.kill()
    child.communicate()
    procs.begin()
    assert procs.get(child.pid) is None


def test_a_name_with_parentheses_and_spaces(node: NodeTree) -> None:
    node.process(7, parent=3, session=5, command="a) R 1 (b", start=42)
    process = Procs(node.procfs).get(7)
    assert process is not None
    assert (process.command, process.parent, process.session, process.start) == ("a) R 1 (b", 3, 5, 42)


def test_what_cannot_be_read_is_empty(node: NodeTree) -> None:
    node.process(7, environ=None)
    procs = Procs(node.procfs)
    process = procs.get(7)
    assert process is not None
    assert procs.facts(process).environment == {}
    assert procs.get(8) is None


def test_facts_are_read_once_and_forgotten_with_their_process(node: NodeTree) -> None:
    node.process(7, environ={"LOCAL_RANK": "1"})
    procs = Procs(node.procfs)
    for _ in range(2):
        process = procs.get(7)
        assert process is not None
        assert procs.facts(process).environment == {"LOCAL_RANK": "1"}
        (node.procfs / "7/environ").unlink(missing_ok=True)
        procs.begin()
    procs.begin()  # a whole sample in which nobody asked
    process = procs.get(7)
    assert process is not None
    assert procs.facts(process).environment == {}


def test_a_younger_parent_is_no_parent(node: NodeTree) -> None:
    node.process(20, parent=10)
    node.process(10)  # the number was used again
    procs = Procs(node.procfs)
    process = procs.get(20)
    assert process is not None
    assert [one.pid for one in procs.line(process)] == [20]


def test_a_line_without_an_end_ends(node: NodeTree) -> None:
    node.process(5, parent=6, start=1)
    node.process(6, parent=5, start=1)
    procs = Procs(node.procfs)
    process = procs.get(5)
    assert process is not None
    assert len(list(procs.line(process))) < 100


def listing_of(*pids: int | None) -> tuple[Seat, ...]:
    return tuple(Seat("run", str(place), pid, "") for place, pid in enumerate(pids))


@pytest.mark.parametrize("same_listing", [True, False])
def test_a_number_used_again_is_another_process(node: NodeTree, same_listing: bool) -> None:
    node.process(7)
    procs, sightings, listing = Procs(node.procfs), Sightings(), listing_of(7)
    assert sightings.living(procs, listing) == [(listing[0], procs.get(7))]
    node.end(7)
    node.process(7)
    procs.begin()
    if same_listing:
        assert sightings.living(procs, listing) == []
    else:
        assert sightings.living(procs, listing_of(7)) == [(listing[0], procs.get(7))]


def test_who_was_seen_and_is_gone_is_left_out_of_listings_that_are_late(node: NodeTree) -> None:
    node.process(7)
    procs, sightings = Procs(node.procfs), Sightings()
    sightings.living(procs, listing_of(7, 8, None))
    node.end(7)
    for _ in range(3):
        procs.begin()
        found = sightings.living(procs, listing_of(7, 8, None))
        assert [entry.pid for entry, _ in found] == [8, None], "these may be hidden"
        assert [process for _, process in found] == [None, None]
    sightings.living(procs, listing_of())
    assert len(sightings.living(procs, listing_of(7))) == 1, "another, of which nothing is known"
