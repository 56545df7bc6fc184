"""Grafana dashboards, recording rules and alerts as code, and the files they make."""
