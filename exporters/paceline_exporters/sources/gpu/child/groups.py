"""The groups of readings and their periods: what the child and its keeper must agree on. Imports nothing."""

from __future__ import annotations

PERIODS = {"fast": 2.0, "processes": 5.0, "slow": 10.0, "rare": 30.0}
"""Group -> seconds. A list of processes alone takes some 4.5 ms per GPU in the driver, as much as all else."""
