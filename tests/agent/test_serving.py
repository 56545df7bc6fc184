"""How the process settles once it serves; the agent's commands are tested through the command itself."""

from __future__ import annotations

import subprocess
import sys

CYCLES = """
import gc, weakref
from paceline_agent import serving

class Old:
    pass

old_objects = [[] for _ in range(400_000)]
gc.collect()
serving._settle_collector()
frozen = gc.get_freeze_count()
cycle = Old()
cycle.itself, gone = cycle, weakref.ref(cycle)
gc.collect(1)  # it is old now: only a full collection finds it
del cycle
made = 0
while gone() is not None and made < 400_000:
    made += 1
    young = []
    young.append(young)
print(frozen >= 400_000, gone() is None)
"""


def test_cycles_do_not_wait_for_as_many_objects_as_are_frozen() -> None:
    done = subprocess.run([sys.executable, "-c", CYCLES], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["True", "True"]
