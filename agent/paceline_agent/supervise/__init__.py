"""`paceline run`: starts the job's command with our hooks, watches it, reports it, says how it ended.

Standard library only, so that it works inside training images.
"""
