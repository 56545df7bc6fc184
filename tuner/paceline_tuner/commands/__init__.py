"""Subcommands of the tuner, one module each."""
