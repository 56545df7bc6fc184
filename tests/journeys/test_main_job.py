"""The main job, end to end, on the real thing: watched, tuned across runs, applied to the user's own job."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from paceline_exporters.rings import RingDirectory

pytest.importorskip("torch", reason="trains: pip install 'paceline[demo]'")
pytestmark = pytest.mark.slow


def scraped(url: str) -> dict[str, set[tuple[str, str]]]:
    """Step series of an agent: name -> the runs and ranks that have one."""
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, set[tuple[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "rank" in sample.labels and "run_id" in sample.labels:
                found.setdefault(sample.name, set()).add((sample.labels["run_id"], sample.labels["rank"]))
    return found


def ranks_of(url: str, run_id: str) -> dict[str, set[tuple[str, str]]]:
    """The step series that both ranks of a run have."""
    both = {(run_id, "0"), (run_id, "1")}
    return {name: seen for name, seen in scraped(url).items() if both <= seen}


def test_two_ranks_are_watched_tuned_and_given_the_result(world: Any, until: Any) -> None:
    batch = ("--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "64")
    job = world.job(*batch, ranks=2)
    study = world.write(
        job,
        knobs={"per_device_train_batch_size": [16, 32, 64], "ddp.bucket_cap_mb": ["unset", 1]},
        hold="global_batch",
        objective={"throughput": "tokens", "warmup_steps": 2, "measure_steps": 8},
        budget={"trials": 4, "run": "100s"},
        seed=7,
    )
    agent = world.service(
        "agent", "--rings.directory", world.rings, "--tuner.url", world.tuner.url, "--spool.directory",
        world.root / "spool",
    )  # fmt: skip
    tune = world.tune(study, agent.url)

    def running() -> str:
        runs = [run for trial in world.view()["trials"] for run in trial["runs"] if run["state"] == "running"]
        return str(runs[0]["run_id"]) if runs else ""

    until(lambda: world.root.joinpath("study").is_dir() and world.trainers(), "the first launch")
    run_id = until(running, "a run that says it lives")
    series = until(lambda: ranks_of(agent.url, run_id), "step series of both ranks while they train")
    assert any("step" in name for name in series), series

    until(lambda: world.view()["counts"]["complete"] >= 1, "the end of the default's run")
    first = world.view()["trials"][0]
    until(running, "the second run")
    world.tuner.kill()
    world.tuner.start()

    assert tune.wait() == 0, tune.said
    view = world.view()
    assert (view["state"], view["counts"]["complete"]) == ("done", 4), tune.said
    assert [len(trial["runs"]) for trial in view["trials"]] == [1] * 4, "nothing ran twice"
    assert view["trials"][0] == first, "what was acknowledged before the kill is as it was"
    for trial in view["trials"]:
        (run,) = trial["runs"]
        assert (run["world_size"], run["summary"]["ranks"], run["summary"]["aligned_steps"]) == (2, [0, 1], 8)
    assert view["baseline"]["arguments"]["gradient_accumulation_steps"] == 64
    assert view["best"]["trial"] != 0, "64 passes of one sequence each cannot be the fastest"
    assert not world.root.joinpath("users").exists(), "no trial wrote to the user's directory"

    flags = ("--study", "journey", "--tuner", world.tuner.url, "--even-unproven")
    submit = world.paceline("submit", *flags, "--", *job, "--run_name", "mine")
    assert submit.wait() == 0, submit.said
    size = view["best"]["params"]["per_device_train_batch_size"]
    cap = view["best"]["params"]["ddp.bucket_cap_mb"]
    headers = normal_headers(world)
    assert [header["rank"] for header in headers] == [0, 1]
    for header in headers:
        arguments, ddp = header["effective"]["arguments"], header["effective"]["ddp"]
        assert (arguments["per_device_train_batch_size"], arguments["gradient_accumulation_steps"]) == (
            size,
            64 // size,
        )
        assert ddp["bucket_cap_mb"] == cap
        assert (arguments["max_steps"], arguments["run_name"]) == (20, "mine"), "the rest is the user's own"
    assert world.root.joinpath("users", "model.safetensors").exists(), "a normal run saves what the job saves"
    assert world.trainers() == []


def normal_headers(world: Any) -> list[Any]:
    """Headers of the rings of normal runs, by rank."""
    directory = RingDirectory(world.rings)
    try:
        headers = [reader.header().data for reader in directory.scan().rings.values()]
    finally:
        directory.close()
    return sorted((data for data in headers if data["kind"] == "normal"), key=lambda data: data["rank"])
