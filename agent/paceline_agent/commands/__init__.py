"""Subcommands of the agent, one module each."""
