from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu.inventory import Inventory

GPU: dict[str, Any] = {"uuid": "GPU-1", "index": 0, "pci": "0000:3b:00.0", "name": "NVIDIA H100", "minor": "0"}


def add_function(
    world: World, pci: str, vendor: str = "0x10de", kind: str = "0x030200", driver: str = "nvidia"
) -> None:
    """With no name, no driver has it."""
    device = world.sysfs / "bus/pci/devices" / pci
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    (device / "numa_node").write_text("1\n")
    if driver:
        (world.sysfs / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(Path("../../drivers") / driver)


def test_what_was_seen_is_expected_by_the_next_agent(world: World) -> None:
    Inventory(world).meet([GPU])
    again = Inventory(world)
    assert again.known["GPU-1"].labels["pci"] == "0000:3b:00.0"
    assert again.expected(set()) == 1


def test_another_boot_forgets(world: World) -> None:
    Inventory(world).meet([GPU])
    (world.procfs / "sys/kernel/random/boot_id").write_text("boot-2\n")
    assert Inventory(world).known == {}


def test_without_a_boot_id_or_a_state_directory_nothing_is_kept(world: World) -> None:
    Inventory(replace(world, state=None)).meet([GPU])
    assert Inventory(replace(world, state=None)).known == {}
    (world.procfs / "sys/kernel/random/boot_id").unlink()
    Inventory(world).meet([GPU])
    assert Inventory(world).known == {}


def test_a_document_of_another_shape_is_no_inventory(world: World) -> None:
    assert world.state is not None
    world.state.mkdir()
    for text in ('{"boot":"boot-1","gpus":[1]}', '{"boot":"boot-1","gpus":{"GPU-1":3}}', "[]", "{"):
        (world.state / "gpu.json").write_text(text)
        assert Inventory(world).known == {}


def test_a_gpu_without_a_driver_is_expected(world: World) -> None:
    add_function(world, "0000:3b:00.0", driver="")
    inventory = Inventory(world)
    assert inventory.functions() == {"0000:3b:00.0"}
    assert inventory.expected(inventory.functions()) == 1


def test_functions_are_gpus_that_the_driver_has(world: World) -> None:
    add_function(world, "0000:3b:00.0")
    add_function(world, "0000:3c:00.0", kind="0x030000")
    add_function(world, "0000:3d:00.0", kind="0x068000")  # an NVSwitch
    add_function(world, "0000:3e:00.0", vendor="0x1002")
    add_function(world, "0000:3f:00.0", driver="vfio-pci")  # handed to a virtual machine
    inventory = Inventory(world)
    assert inventory.functions() == {"0000:3b:00.0", "0000:3c:00.0"}
    inventory.meet([GPU])
    assert inventory.known["GPU-1"].labels["numa"] == "1"
    assert inventory.expected(inventory.functions()) == 2, "one of them never gave its UUID"


def test_a_container_expects_only_the_gpus_it_was_given(world: World) -> None:
    add_function(world, "0000:3b:00.0")
    add_function(world, "0000:3c:00.0")
    (world.procfs / "driver/nvidia/gpus/0000:3B:00.0").mkdir(parents=True)
    assert Inventory(world).functions() == {"0000:3b:00.0"}


def test_a_machine_without_pci_shows_no_functions(world: World) -> None:
    assert Inventory(world).functions() is None
    (world.sysfs / "bus/pci/devices").mkdir(parents=True)
    inventory = Inventory(world)
    assert inventory.functions() is None
    assert inventory.expected(None) == 0


def test_a_machine_without_gpus_has_no_functions(world: World) -> None:
    add_function(world, "0000:3e:00.0", vendor="0x1002")
    assert Inventory(world).functions() == set()
