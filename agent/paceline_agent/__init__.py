"""The process on each node: samples, serves /metrics, reports run windows to the tuner; and `paceline run`."""
