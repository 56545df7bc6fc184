"""An RDMA device in a tree: what its driver shows under /sys/class/infiniband."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .files import fail, link, wedge, write, write_all

Values = Mapping[str, object]


@dataclass(frozen=True)
class Story:
    """One kind of hardware and driver. Counter values are factors: the device multiplies them by its seed."""

    driver: str
    """Of the PCI function; of software devices only told by their name."""
    about: Values
    """Files of the device: fw_ver, hca_type, board_id, ..."""
    link_layer: str
    rate: str
    state: str = "4: ACTIVE"
    phys_state: str = "5: LinkUp"
    counters: Mapping[str, int | str] | None = field(default_factory=dict)
    """None: the driver has no such directory. A text stands in the file as it is."""
    hw_counters: Mapping[str, int | str] | None = field(default_factory=dict)
    counters_ext: Mapping[str, int | str] | None = None
    device_counters: Mapping[str, int | str] | None = None
    """`hw_counters` of the device itself."""


class RdmaDevice:
    """A device with one port, whose attributes are named relative to it: `counters/link_downed`."""

    def __init__(
        self, root: Path, name: str, story: Story, function: Path | None, netdev: str | None, seed: int
    ) -> None:
        self.name = name
        self._root, self._story, self._function = root, story, function
        self._netdev, self._seed = netdev, seed
        home = root / "devices/virtual" if function is None else function
        self.path = home / "infiniband" / name
        self.port = self.path / "ports/1"
        self.add()

    def add(self) -> None:
        """Make the device appear; again after `remove`, it is a new one: other inode, counters from the start."""
        story = self._story
        guid = f"{self._seed:04x}:0000:0300:{self._seed:04x}"
        about = {"node_type": "1: CA", "node_guid": guid, "sys_image_guid": guid, "node_desc": self.name}
        write_all(self.path, {**about, **story.about})
        port = {"state": story.state, "phys_state": story.phys_state, "rate": story.rate, "lid": "0x0"}
        write_all(self.port, {**port, "link_layer": story.link_layer})
        for directory, values in (
            (self.port / "counters", story.counters),
            (self.port / "hw_counters", story.hw_counters),
            (self.port / "counters_ext", story.counters_ext),
            (self.path / "hw_counters", story.device_counters),
        ):
            if values is not None:
                write_all(directory, {name: self._grown(name, value) for name, value in values.items()})
        if self._function is not None:
            link(self.path / "device", self._function)
        if self._netdev is not None:
            self._name_netdev(self._netdev)
        link(self._root / "class/infiniband" / self.name, self.path)

    def remove(self) -> None:
        """Make the device vanish. Its files are kept aside so that no new one gets their inodes."""
        (self._root / "class/infiniband" / self.name).unlink()
        graves = self._root / "removed"
        graves.mkdir(exist_ok=True)
        shutil.move(self.path, graves / f"{self.name}-{len(list(graves.iterdir()))}")

    def set(self, attribute: str, value: object) -> None:
        """Change a port's attribute."""
        write(self.port / attribute, value)

    def get(self, attribute: str) -> int:
        """A port's attribute as a number."""
        return int((self.port / attribute).read_text())

    def fail(self, attribute: str, error: str = "EINVAL") -> None:
        """Make reads of a port's attribute fail."""
        fail(self.port / attribute, error)

    def wedge(self, attribute: str) -> None:
        """Make reads of a port's attribute block."""
        wedge(self.port / attribute)

    def _grown(self, name: str, value: int | str) -> int | str:
        return value * self._seed if isinstance(value, int) and name != "lifespan" else value

    def _name_netdev(self, netdev: str) -> None:
        if self._story.link_layer == "Ethernet":
            write(self.port / "gid_attrs/ndevs/0", netdev)
        if self._function is None:
            write(self.path / "parent", netdev)
