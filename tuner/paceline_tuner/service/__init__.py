"""The tuner service: studies, proposals and runs in one database, over HTTP."""
