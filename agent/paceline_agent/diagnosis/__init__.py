"""What the agent makes of its ranks' steps: a diagnosis per run, as metrics and as an answer to `explain`."""
