"""Search space, studies, proposals, HTTP service, client, launchers."""
