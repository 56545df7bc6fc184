"""The process: started, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest


def test_killed_in_the_middle_of_a_study_it_goes_on(start, study, ring_reports):
    cluster = study(start(), budget={"trials": 6}, proof={"min_pairs": 6, "max_pairs": 6, "width": 0.05})
    tuner, runs, values = cluster.tuner, [], {}
    while proposal := cluster.next():
        again = f"ask-{cluster.asked}"
        runs.append(proposal["run_id"])
        cluster.windows(*ring_reports(proposal, steps=5, ended=False))
        if len(runs) % 3 == 0:
            tuner.restart()
            assert cluster.ask(again)["proposal"] == proposal
        seconds = 0.1 if proposal["arguments"] else 0.15
        marks = cluster.windows(*ring_reports(proposal, seconds=seconds, first=3, steps=9))
        assert {mark["next_record"] for mark in marks.values()} == {12}
        if len(runs) % 3 == 1:
            tuner.restart()
        word = {"request_id": "end", "state": "finished", "reason": "done"}
        answer = tuner.post(f"/v1/runs/{proposal['run_id']}/end", word)
        assert answer["outcome"] == "finished"
        values[proposal["run_id"]] = answer["reason"]
        if len(runs) % 3 == 2:
            tuner.restart()
            assert tuner.post(f"/v1/runs/{proposal['run_id']}/end", word) == answer
    view = cluster.view()
    stored = {run["run_id"]: run for trial in view["trials"] for run in trial["runs"]}
    assert len(set(runs)) == len(runs) == 6 + 12
    assert set(stored) == set(runs)
    assert {run_id: run["reason"] for run_id, run in stored.items()} == values
    assert view["state"] == "done"
    assert view["proof"]["verdict"] == "use this"


def test_killed_while_many_ask_nothing_is_handed_out_twice(start, study, cluster_of):
    objective = {"kind": "final", "direction": "minimize", "metric": "eval_loss", "max_steps": 12}
    cluster = study(start(), objective=objective, budget={"trials": 200, "parallel": 50})
    cluster.end(cluster.next(), metrics={"eval_loss": 2.0})
    answered = []

    def ask_until_it_dies(number):
        client = cluster_of(cluster.tuner, cluster.study, f"client-{number}")
        while client.asked < 12:
            try:
                answered.append((client.client_id, f"ask-{client.asked + 1}", client.ask()))
            except OSError:
                return

    threads = [threading.Thread(target=ask_until_it_dies, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 8:
        threads[0].join(0.01)
    cluster.tuner.end(signal.SIGKILL)
    for thread in threads:
        thread.join()
    cluster.tuner.start()
    proposals = [
        (client, request, answer["proposal"]) for client, request, answer in answered if "proposal" in answer
    ]
    assert len({proposal["run_id"] for _, _, proposal in proposals}) == len(proposals)
    for client, request, proposal in proposals:
        assert cluster_of(cluster.tuner, cluster.study, client).ask(request)["proposal"] == proposal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_ends_it_with_status_0(start, number):
    tuner = start()
    pid = tuner.get("/readyz")["sampler_pid"]
    status, errors = tuner.end(number)
    assert status == 0
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_port_in_use_is_one_clear_line(tmp_path, bare_tuner):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = bare_tuner(tmp_path / "tuner.sqlite", address=f"127.0.0.1:{port}").launch()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert f"127.0.0.1:{port}" in errors
    assert "give another --web.listen-address" in errors


def test_an_address_without_port_is_one_clear_line(tmp_path, bare_tuner):
    process = bare_tuner(tmp_path / "tuner.sqlite", address="localhost").launch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "expected host:port" in errors


def test_a_sampler_that_is_killed_is_started_again(start, study):
    cluster = study(start(), budget={"trials": 5})
    cluster.run(cluster.next())
    pids = set()
    while True:
        pid = cluster.tuner.call("GET", "/readyz")[1].get("sampler_pid")
        if pid is not None and pid not in pids:
            pids.add(pid)
            os.kill(pid, signal.SIGKILL)
        if (proposal := cluster.next()) is None:
            break
        cluster.run(proposal)
    assert len(pids) >= 3
    assert cluster.view()["counts"]["complete"] == 5


def test_the_sampler_dies_with_its_service(start):
    tuner = start()
    pid = tuner.get("/readyz")["sampler_pid"]
    tuner.end(signal.SIGKILL)
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if _is_zombie(pid):
            return
        threading.Event().wait(0.1)
    raise AssertionError("the sampler outlived its service")


def _is_zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_optunas_tables_hold_a_copy_that_is_made_good_after_a_kill(start, study):
    import optuna

    cluster = study(start(), budget={"trials": 5})
    for number in range(5):
        proposal = cluster.next()
        if number == 2:
            cluster.end(proposal, "rejected", "rejected", detail="no")
        else:
            cluster.run(proposal)
        if number == 3:
            cluster.tuner.restart()
    url = f"sqlite:///{cluster.tuner.database}"
    deadline = threading.Event()
    for _ in range(600):
        try:
            storage = optuna.storages.RDBStorage(url)
            trials = optuna.load_study(study_name=cluster.study, storage=storage).trials
            storage.remove_session()
            storage.engine.dispose()
        except KeyError:
            trials = []
        if len(trials) == 5:
            break
        deadline.wait(0.1)
    numbers = {trial.user_attrs["paceline_trial"]: trial.state.name for trial in trials}
    assert numbers == {0: "COMPLETE", 1: "COMPLETE", 2: "FAIL", 3: "COMPLETE", 4: "COMPLETE"}
    values = {trial["number"]: trial["value"] for trial in cluster.view()["trials"]}
    assert {trial.user_attrs["paceline_trial"]: trial.value for trial in trials} == values
