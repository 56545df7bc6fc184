"""deploy/image: the recipe agrees with the manifests, the code and what the package is made of."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Object = dict[str, Any]
Stage = list[tuple[str, str]]
"""Instructions and their arguments, in order."""
UID = "65532"


@pytest.fixture(scope="module")
def stages(deploy: Path) -> dict[str, Stage]:
    """Stage by name; the first line of each is its FROM."""
    text = (deploy / "image" / "Containerfile").read_text()
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    found: dict[str, Stage] = {}
    for instruction, _, rest in (line.partition(" ") for line in lines if line):
        if instruction == "FROM":
            current = found.setdefault(rest.partition(" AS ")[2], [])
        elif not found:
            continue
        current.append((instruction, rest))
    return found


def values(stages: dict[str, Stage], target: str, instruction: str) -> list[str]:
    """What an instruction says in a stage and those that it is made from."""
    _, base = stages[target][0]
    parent = base.partition(" AS ")[0]
    inherited = values(stages, parent, instruction) if parent in stages else []
    return [*inherited, *(rest for name, rest in stages[target] if name == instruction)]


@pytest.mark.parametrize("name", ["agent", "tuner"])
def test_image_runs_what_the_manifest_runs(
    stages: dict[str, Stage],
    name: str,
    parse: Callable[[Sequence[str]], Any],
    ports: dict[str, int],
    deploy: Path,
    load: Callable[[Path], list[Object]],
) -> None:
    assert values(stages, name, "USER")[-1] == f"{UID}:{UID}"
    assert values(stages, name, "ENTRYPOINT") == ['["paceline"]']
    assert values(stages, name, "EXPOSE") == [str(ports[name])]
    words = json.loads(values(stages, name, "CMD")[-1])
    arguments = parse(words)
    address = arguments.listen if name == "agent" else arguments.address
    assert address == f":{ports[name]}"
    kind = "daemonset" if name == "agent" else "deployment"
    (manifest,) = load(deploy / "kubernetes" / "base" / name / f"{kind}.yaml")
    spec = manifest["spec"]["template"]["spec"]
    assert str(spec["securityContext"]["runAsGroup"]) == UID
    (container,) = spec["containers"]
    assert container["image"] == f"paceline-{name}"
    if name == "tuner":
        assert container["args"] == words
        assert values(stages, name, "VOLUME") == [container["volumeMounts"][0]["mountPath"]]


def test_user_is_made_with_the_ids_that_manifests_name(stages: dict[str, Stage]) -> None:
    (made,) = [rest for rest in values(stages, "runtime", "RUN") if "useradd" in rest]
    assert f"groupadd --gid {UID} paceline" in made
    assert f"useradd --uid {UID} --gid {UID}" in made


def test_hooks_stand_where_init_containers_copy_them_from(stages: dict[str, Stage], deploy: Path) -> None:
    (installs,) = [rest for rest in values(stages, "agent-install", "RUN") if "attach" in rest]
    assert "paceline_exporters/attach /opt/paceline/attach" in installs
    for path in (deploy / "kubernetes" / "examples").glob("*.yaml"):
        assert "/opt/paceline/attach/." in path.read_text()


def test_each_target_installs_its_own_extra(stages: dict[str, Stage], project: Object) -> None:
    for name in ("agent", "tuner"):
        (installs,) = [rest for rest in values(stages, f"{name}-install", "RUN") if ".whl" in rest]
        assert f"[{name}]" in installs and "--constraint constraints.txt" in installs
        assert name in project["optional-dependencies"]
        assert ("COPY", f"--from={name}-install /opt/paceline /opt/paceline") in stages[name]


def test_context_holds_what_the_wheel_is_made_of(stages: dict[str, Stage], deploy: Path) -> None:
    root = deploy.parent
    copied = {word for rest in values(stages, "wheel", "COPY") for word in rest.split()[:-1]}
    pyproject = tomllib.loads((root / "pyproject.toml").read_text())
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {package.partition("/")[0] for package in packages}
    needed |= {pyproject["project"]["readme"], *pyproject["project"]["license-files"], "pyproject.toml"}
    assert needed | {"constraints.txt"} == copied
    lines = (root / ".containerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert all((root / name).exists() for name in copied)


def test_base_images_have_short_names_and_a_version(stages: dict[str, Stage], deploy: Path) -> None:
    text = (deploy / "image" / "Containerfile").read_text()
    (base,) = re.findall(r"(?m)^ARG PYTHON=(\S+)$", text)
    assert re.fullmatch(r"python:\d+\.\d+-slim-[a-z]+", base)
    assert {stage[0][1].partition(" AS ")[0] for stage in stages.values()} == {"${PYTHON}", "wheel", "runtime"}
