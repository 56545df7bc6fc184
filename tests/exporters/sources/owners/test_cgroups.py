from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.owners.cgroups import Place, parse

UID = "8f1b2c3d-0a1b-4c2d-9e8f-001122334455"
ID, OUTER = "ab12" * 16, "cd34" * 16
IN_POD = Place(UID, ID)
SYSTEMD = UID.replace("-", "_")

PATHS = {
    "systemd, containerd": (
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD}.slice/cri-containerd-{ID}.scope",
        IN_POD,
    ),
    "systemd, guaranteed, cri-o with a group below": (
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/crio-{ID}.scope/container",
        IN_POD,
    ),
    "systemd, docker": (f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/docker-{ID}.scope", IN_POD),
    "cgroupfs": (f"0::/kubepods/besteffort/pod{UID}/{ID}", IN_POD),
    "version 1": (f"11:devices:/kubepods/pod{UID}/{ID}\n10:memory:/kubepods/pod{UID}/{ID}\n0::/", IN_POD),
    "containerd's own notation": (
        f"1:name=systemd:/system.slice/containerd.service/kubepods-pod{SYSTEMD}.slice:cri-containerd:{ID}",
        IN_POD,
    ),
    "from another pod's cgroup namespace": (f"0::/../../pod{UID}/{ID}", IN_POD),
    "from another container of the pod": (f"0::/../cri-containerd-{ID}.scope", Place("", ID)),
    "a node that is a container": (
        f"0::/docker/{OUTER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SYSTEMD}.slice/"
        f"cri-containerd-{ID}.scope",
        IN_POD,
    ),
    "docker in a pod": (f"0::/kubepods/pod{UID}/{ID}/docker/{OUTER}", IN_POD),
    "a static pod": (f"0::/kubepods/pod{'0a' * 16}/{ID}", Place("0a" * 16, ID)),
    "plain docker": (f"0::/system.slice/docker-{ID}.scope", Place("", ID)),
    "plain docker, cgroupfs": (f"4:memory:/docker/{ID}", Place("", ID)),
    "podman": (
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
        Place("", ID),
    ),
    "slurm, version 2": (
        "0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_3",
        Place("", "", "4711", "0"),
    ),
    "slurm, several slurmd": (
        "0::/system.slice/n1_slurmstepd.scope/job_7/step_batch/user/task_0",
        Place("", "", "7", "batch"),
    ),
    "slurm, version 1": (
        "9:devices:/slurm/uid_1000/job_4711/step_0/task_0\n4:memory:/slurm/uid_1000/job_4711/step_0/task_0",
        Place("", "", "4711", "0"),
    ),
    "slurm, job only": ("9:freezer:/slurm_n1/uid_0/job_12", Place("", "", "12", "")),
    "slurm's own daemon": ("0::/system.slice/slurmstepd.scope/system", Place()),
    "slurmd in a pod": (
        f"0::/kubepods/pod{UID}/{ID}/system.slice/slurmstepd.scope/job_9/step_1/user/task_0",
        Place(UID, ID, "9", "1"),
    ),
    "a user's shell": ("0::/user.slice/user-1000.slice/session-2.scope", Place()),
    "nothing": ("", Place()),
}


@pytest.mark.parametrize(("text", "place"), PATHS.values(), ids=PATHS)
def test_places(text: str, place: Place) -> None:
    assert parse(text + "\n") == place


@given(st.text())
def test_any_text_has_a_place(text: str) -> None:
    place = parse(text)
    assert all(part in text.replace("_", "-") or part in text for part in (place.pod_uid, place.container_id))
    assert "/" not in place.slurm_job + place.slurm_step
    assert "\n" not in place.slurm_job + place.slurm_step


@given(
    st.uuids().map(str),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.sampled_from(["", "besteffort/", "burstable/"]),
    st.lists(st.sampled_from(["cpu", "memory", "devices"]), min_size=1, unique=True),
)
def test_every_kubelet_path_names_pod_and_container(
    uid: str, identity: str, quality: str, controllers: list[str]
) -> None:
    lines = [f"{n}:{name}:/kubepods/{quality}pod{uid}/{identity}" for n, name in enumerate(controllers, 1)]
    assert parse("\n".join(lines)) == Place(uid, identity)


@given(st.integers(1, 2**31), st.sampled_from(["0", "17", "batch", "extern", "interactive"]), st.booleans())
def test_every_slurm_path_names_job_and_step(job: int, step: str, second: bool) -> None:
    tail = f"job_{job}/step_{step}/"
    path = (
        f"0::/system.slice/slurmstepd.scope/{tail}user/task_0"
        if second
        else f"4:memory:/slurm/uid_5/{tail}task_0"
    )
    assert parse(path) == Place("", "", str(job), step)
