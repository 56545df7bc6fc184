from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline_agent.doctor.place import Place, here

HOST_NAMESPACE, OWN_NAMESPACE = "pid:[4026531836]", "pid:[4026532201]"
SYSLOG_ONLY = 1 << 34


def procfs(root: Path, namespace: str, capabilities: int = 0) -> Path:
    (root / "self" / "ns").mkdir(parents=True)
    (root / "self" / "ns" / "pid").symlink_to(namespace)
    (root / "self" / "status").write_text(f"Name:\tpython\nCapPrm:\tffff\nCapEff:\t{capabilities:016x}\n")
    return root


@pytest.mark.parametrize(
    ("namespace", "marks", "environ", "kind"),
    [
        (HOST_NAMESPACE, [], {}, "host"),
        (HOST_NAMESPACE, [], {"SLURM_JOB_ID": "17"}, "Slurm job"),
        (HOST_NAMESPACE, [".dockerenv"], {}, "container"),
        (HOST_NAMESPACE, ["run/.containerenv"], {}, "container"),
        (OWN_NAMESPACE, [], {}, "container"),
        (OWN_NAMESPACE, [], {"SLURM_JOB_ID": "17"}, "container"),
        (HOST_NAMESPACE, [], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "pod"),
        (OWN_NAMESPACE, [".dockerenv"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "pod"),
    ],
)
def test_where(tmp_path: Path, namespace: str, marks: list[str], environ: dict[str, str], kind: str) -> None:
    root = tmp_path / "root"
    for mark in marks:
        (root / mark).parent.mkdir(parents=True, exist_ok=True)
        (root / mark).touch()
    place = here(procfs(tmp_path / "proc", namespace), root, environ)
    assert (place.kind, place.host_processes) == (kind, namespace == HOST_NAMESPACE)


def test_capabilities_in_effect(tmp_path: Path) -> None:
    place = here(procfs(tmp_path, HOST_NAMESPACE, SYSLOG_ONLY), tmp_path, {})
    assert place.capabilities == {"SYSLOG"}


def test_this_process() -> None:
    place = here()
    assert place.uid == os.geteuid()
    assert os.getegid() in place.groups
    assert str(place).startswith(f"{place.user}, ")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("host", "AmbientCapabilities=CAP_SYSLOG"),
        ("Slurm job", "AmbientCapabilities=CAP_SYSLOG"),
        ("container", "--cap-add SYSLOG"),
        ("pod", "capabilities: {add: [SYSLOG]}"),
    ],
)
def test_a_capability_is_granted_as_the_place_wants_it(kind: str, words: str) -> None:
    place = Place(kind, "nobody", 65534, frozenset(), frozenset(), host_processes=True)  # type: ignore[arg-type]
    assert words in place.grant("SYSLOG")


def test_a_pod_without_words_of_its_own_is_told_what_a_container_is() -> None:
    place = Place("pod", "nobody", 65534, frozenset(), frozenset(), host_processes=False)
    assert (place.fix("a", "b"), place.fix("a"), place.fix("a", "b", "c")) == ("b", "a", "c")
