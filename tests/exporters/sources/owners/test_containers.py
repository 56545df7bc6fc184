from __future__ import annotations

from node_tree import NodeTree

from paceline_exporters.sources.owners.containers import DIRECTORY, Containers
from paceline_exporters.sources.owners.errors import Errors

ONE, TWO = "a1" * 32, "b2" * 32


def test_a_container_by_the_link_to_its_log(node: NodeTree) -> None:
    node.log_link("ml", "train-0", "trainer-1", ONE)
    containers = Containers(node.rootfs, Errors())
    assert containers.name(ONE) == ("ml", "train-0", "trainer-1")
    assert containers.name(TWO) is None
    node.log_link("ml", "train-1", "trainer", TWO)
    assert containers.name(TWO) is None  # listed once per sample
    containers.begin()
    assert containers.name(TWO) == ("ml", "train-1", "trainer")


def test_other_files_are_passed_over(node: NodeTree) -> None:
    node.log_link("ml", "train-0", "trainer", ONE)
    for name in ("x.log", f"a_b-{TWO}.log", f"a_b_c_d-{TWO}.log", f"a_b_c-{TWO}.log.gz"):
        (node.rootfs / DIRECTORY / name).touch()
    containers = Containers(node.rootfs, Errors())
    assert containers.name(TWO) is None
    assert containers.name("") is None
    assert containers.name(ONE) == ("ml", "train-0", "trainer")


def test_no_directory_is_no_error_and_a_file_in_its_place_neither(node: NodeTree) -> None:
    errors = Errors()
    assert Containers(node.rootfs, errors).name(ONE) is None
    (node.rootfs / "var/log").mkdir(parents=True)
    (node.rootfs / DIRECTORY).touch()
    assert Containers(node.rootfs, errors).name(ONE) is None
    assert not errors.counts


def test_a_directory_that_cannot_be_listed_is_counted(node: NodeTree) -> None:
    (node.rootfs / "var/log").mkdir(parents=True)
    (node.rootfs / DIRECTORY).symlink_to("containers")  # a link to itself: ELOOP, for root as well
    errors = Errors()
    assert Containers(node.rootfs, errors).name(ONE) is None
    assert errors.counts == {("containers", "io"): 1}
