from __future__ import annotations

import json
from dataclasses import replace

from paceline_exporters.sources.rdma.inventory import (
    FORGET_REMOVABLE_SECONDS,
    FORGET_SECONDS,
    Inventory,
    Known,
)

NOW = 1_700_000_000.0
CARD = Known("mlx5_0", "1", "0000:17:00.0", False, NOW)
VIRTUAL = Known("mlx5_2", "1", "0000:17:00.2", True, NOW)


def left(inventory: Inventory) -> list[str]:
    return [known.device for known in inventory]


def test_a_port_that_went_is_remembered_and_forgotten_in_its_time() -> None:
    inventory = Inventory()
    inventory.see([CARD, VIRTUAL], NOW)
    inventory.see([], NOW + FORGET_REMOVABLE_SECONDS)
    assert left(inventory) == ["mlx5_0", "mlx5_2"]
    inventory.see([], NOW + FORGET_REMOVABLE_SECONDS + 1)
    assert left(inventory) == ["mlx5_0"]
    inventory.see([], NOW + FORGET_SECONDS + 1)
    assert left(inventory) == []


def test_another_name_for_the_same_function_takes_its_place() -> None:
    inventory = Inventory()
    inventory.see([CARD], NOW)
    inventory.see([replace(CARD, device="ibp23s0")], NOW + 5)
    assert left(inventory) == ["ibp23s0"]


def test_it_survives_in_its_document() -> None:
    inventory = Inventory()
    inventory.see([CARD, VIRTUAL], NOW)
    again = Inventory(json.loads(json.dumps(inventory.document())))
    assert list(again) == [CARD, VIRTUAL]


def test_a_document_that_is_no_inventory() -> None:
    assert left(Inventory({"a": 1})) == []
    assert left(Inventory([3, {"device": "x"}, inventory_row()])) == ["mlx5_0"]
    for seen in (-1.0, float("inf"), float("nan"), "5", None):
        assert left(Inventory([{**inventory_row(), "seen": seen}])) == []


def inventory_row() -> dict[str, object]:
    return {"device": "mlx5_0", "port": "1", "pci": "", "removable": False, "seen": 5}
