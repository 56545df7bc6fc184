"""One file, one owner; what cannot be written is not acknowledged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from paceline_tuner.service.database import connect, migrate
from paceline_tuner.service.tables import VERSION_TABLE, metadata


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk):
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


def test_migrations_make_the_tables_that_the_code_knows(tmp_path):
    engine = connect(f"sqlite:///{tmp_path / 'new.sqlite'}")
    with engine.begin() as connection:
        migrate(connection)
        migrate(connection)
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_every_table_bears_our_prefix_and_a_tenant():
    for table in metadata.tables.values():
        assert table.name.startswith("paceline_")
        assert "tenant" in table.columns


def test_a_second_tuner_refuses_to_start(start, bare_tuner):
    first = start()
    process = bare_tuner(first.database).launch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert f"another tuner (process {first.process.pid})" in errors
    assert first.get("/healthz") == {"status": "ok"}


def test_a_killed_tuner_leaves_no_lock(start):
    first = start()
    first.restart()
    assert first.get("/healthz") == {"status": "ok"}


def test_an_unwritable_place_is_one_clear_line(tmp_path, bare_tuner):
    process = bare_tuner(tmp_path / "nowhere" / "tuner.sqlite").launch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "give another --database" in errors


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path, bare_tuner):
    path = tmp_path / "tuner.sqlite"
    path.write_text("these are my notes, not a database\n" * 100)
    process = bare_tuner(path).launch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert path.read_text().startswith("these are my notes")


def test_a_full_disk_at_the_start_is_one_clear_line(small_disk, bare_tuner):
    fill(small_disk)
    process = bare_tuner(small_disk / "tuner.sqlite").launch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "free the disk" in errors


def test_a_disk_that_fills_up_acknowledges_nothing_and_loses_nothing(
    small_disk, start, study, ring_reports, cluster_of
):
    cluster = study(start(database=small_disk / "tuner.sqlite"), budget={"trials": 100})
    proposal = cluster.next()
    ballast = fill(small_disk)
    reports, statuses, acknowledged = ring_reports(proposal, ended=False, steps=0), [], 0
    for number in range(400):
        for report in reports:
            report["window"] = {"first": number, "last": number, "columns": {"step": [float(number + 1)]}}
        body = {"reporter": "run", "node": "a", "rings": reports}
        status, answer = cluster.tuner.call("POST", "/v1/windows", body)
        statuses.append(status)
        if status != 200:
            break
        acknowledged = number + 1
    assert statuses[-1] == 503
    assert answer["error"]["code"] == "try_again"
    assert "free its disk" in answer["error"]["message"]
    assert cluster.tuner.get("/healthz") == {"status": "ok"}
    ballast.unlink()
    marks = cluster.windows(*reports)
    assert {mark["next_record"] for mark in marks.values()} == {acknowledged + 1}
    cluster.tuner.restart()
    with closing(sqlite3.connect(cluster.tuner.database)) as database:
        (count,) = database.execute("select count(*) from paceline_windows").fetchone()
    assert count == 2 * (acknowledged + 1)


def test_the_lock_is_a_private_file(start):
    tuner = start()
    mode = Path(f"{tuner.database}.lock").stat().st_mode
    assert stat.S_ISREG(mode)
    assert not mode & stat.S_IWOTH


def test_request_ids_are_per_client(study, cluster_of):
    cluster = study()
    request_id = uuid.uuid4().hex
    assert "proposal" in cluster.ask(request_id)
    assert "wait_seconds" in cluster_of(cluster.tuner, cluster.study, "another").ask(request_id)
