"""Whether the best configuration found is better than the job's own default, and by how much."""
