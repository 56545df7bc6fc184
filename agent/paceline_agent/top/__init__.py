"""The live terminal view of one or many agents."""
