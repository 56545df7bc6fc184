"""Write what the cluster needs of `dashboards/` as Kubernetes objects.

Kustomize reads no file outside its own directory, so the rules and dashboards stand in the base a second time,
made by `python deploy/kubernetes/generate.py`; a test holds the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "dashboards"
TARGET = ROOT / "deploy" / "kubernetes" / "base" / "monitoring"
RULES = ("recording.yaml", "alerts.yaml")
HEAD = "# Made from dashboards/ by deploy/kubernetes/generate.py.\n"


def main() -> None:
    """Write both files."""
    for name, objects in files().items():
        (TARGET / name).write_text(text(objects))


def files() -> dict[str, list[dict[str, Any]]]:
    """File name -> its objects."""
    return {"prometheusrule.yaml": [prometheus_rule()], "dashboards.yaml": config_maps()}


def prometheus_rule() -> dict[str, Any]:
    """All groups of all rule files as one object."""
    groups = [
        group for name in RULES for group in yaml.safe_load((DASHBOARDS / "rules" / name).read_text())["groups"]
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "paceline"},
        "spec": {"groups": groups},
    }


def config_maps() -> list[dict[str, Any]]:
    """One object per dashboard, with the label by which Grafana's sidecar finds it."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"paceline-dashboard-{path.stem}", "labels": {"grafana_dashboard": "1"}},
            "data": {f"paceline-{path.name}": path.read_text()},
        }
        for path in sorted(DASHBOARDS.glob("*.json"))
    ]


def text(objects: list[dict[str, Any]]) -> str:
    """The objects as a YAML stream; long texts stay readable."""
    return HEAD + yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)

if __name__ == "__main__":
    main()
