"""`paceline doctor`: what the agent can and cannot see on this machine, why, and what would fix it.

The sources sample for real; then each check, one subject a file, looks closer at what they miss. Nothing is
changed, nothing needs root, and what hangs costs itself only.
"""
