"""Write the dashboards' JSON and the rules' YAML below dashboards/."""

from __future__ import annotations

from .files import DASHBOARDS, contents

for name, text in contents().items():
    path = DASHBOARDS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
