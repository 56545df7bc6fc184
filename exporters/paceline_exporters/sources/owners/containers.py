"""Pod and container by container id, from the names of the links that the kubelet keeps in /var/log/containers:
`POD_NAMESPACE_CONTAINER-ID.log` (kubernetes, pkg/kubelet/kuberuntime/legacy.go). No log is read.
"""

from __future__ import annotations

import re
from pathlib import Path

from .errors import AskError, Errors

ASKED = "containers"
REASONS = ("permission", "io")
DIRECTORY = "var/log/containers"
_LINK = re.compile(r"([^_]+)_([^_]+)_([^_]+)-([0-9a-f]{64})\.log")

Name = tuple[str, str, str]
"""Namespace, pod, container."""


class Containers:
    """The directory is listed at most once per sample, and only for an id that is new."""

    def __init__(self, rootfs: Path, errors: Errors) -> None:
        self._directory = rootfs / DIRECTORY
        self._errors = errors
        self._names: dict[str, Name] = {}
        self._listed = False

    def begin(self) -> None:
        """A new sample."""
        self._listed = False

    def name(self, container_id: str) -> Name | None:
        """None where it is not known."""
        if container_id and container_id not in self._names and not self._listed:
            self._listed = True
            self._list()
        return self._names.get(container_id)

    def _list(self) -> None:
        try:
            entries = [path.name for path in self._directory.iterdir()]
        except (FileNotFoundError, NotADirectoryError):  # no kubelet here, or its directory is not mounted
            entries = []
        except OSError as error:
            entries = []
            reason = "permission" if isinstance(error, PermissionError) else "io"
            self._errors.failed(ASKED, AskError(reason, str(error)))
        else:
            self._errors.answered(ASKED)
        links = filter(None, map(_LINK.fullmatch, entries))
        self._names = {link[4]: (link[2], link[1], link[3]) for link in links}
