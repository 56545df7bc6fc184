"""Who holds a device: a container, a Slurm step, or a user."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Party:
    """As far as the node knows; what is unknown is empty. The order is the one in which a shared device's first
    owner is chosen."""

    namespace: str = ""
    pod: str = ""
    container: str = ""
    """Its name in the pod; outside Kubernetes, the first 12 digits of its id."""
    slurm_job: str = ""
    slurm_step: str = ""
    uid: str = ""
    """User id, where the process is in no pod. A number: a name may come from a directory service, and block."""

    def labels(self) -> tuple[str, str, str, str, str, str]:
        """The fields, in order."""
        return (self.namespace, self.pod, self.container, self.slurm_job, self.slurm_step, self.uid)

    def container_only(self) -> Party:
        """The container in its pod, without what runs within."""
        return Party(self.namespace, self.pod, self.container)


NOBODY = Party()
