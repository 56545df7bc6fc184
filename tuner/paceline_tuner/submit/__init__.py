"""Submitters: ask the tuner for a configuration, launch the job with it, say how it ended."""
