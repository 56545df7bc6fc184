"""The groups of readings and their periods: what the child and its keeper must agree on. Imports nothing."""

from __future__ import annotations

PERIODS = {"fast": 3.0, "processes": 6.0, "slow": 12.0, "rare": 30.0}
"""Group -> seconds, all of them multiples of the first: what is due together costs one round. A list of
processes alone takes some 4.5 ms per GPU in the driver, as much as all else. A GPU that is lost is to be
seen within 5 s."""
