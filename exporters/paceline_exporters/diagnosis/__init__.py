"""What step records and node evidence say: stragglers, communication, verdicts. Standard library only; pure."""
