"""One file a change of the tables, in order of `down_revision`."""
