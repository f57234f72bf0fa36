"""What cores there are, as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_env.hardware.sysfs import SysFs, format_cpus, parse_cpus
from dvfo_env.hardware.topology import Topology, discover
from tests.hardware import trees

EIGHT = frozenset(range(8))


def names(topology: Topology) -> list[str]:
    return [cpu_set.name for cpu_set in topology.cpu_sets()]


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-2,5", {0, 1, 2, 5}), ("", set()), ("3", {3}), ("0 3 4", {0, 3, 4})]
)
def test_lists_of_cpus_are_read_as_the_kernel_writes_them(text: str, cpus: set[int]) -> None:
    assert parse_cpus(text) == cpus


def test_lists_of_cpus_are_written_back() -> None:
    assert format_cpus(frozenset({0, 1, 2, 5})) == "0-2,5"


def test_a_pi_has_one_cluster_and_powers_of_two(tmp_path: Path) -> None:
    topology = discover(SysFs(trees.raspberry_pi_4(tmp_path)), frozenset(range(4)))
    assert names(topology) == ["cpu1", "cpu2", "cpu4"]
    assert topology.processor == "Raspberry Pi 4 Model B Rev 1.2"
    assert topology.cores() == {"cpu": 4}
    assert topology.cpu_sets()[0].cpus == (3,)  # away from the core that serves interrupts


def test_cores_that_are_off_are_named_and_not_used(tmp_path: Path) -> None:
    topology = discover(SysFs(trees.jetson_tx2(tmp_path)), frozenset({0, 3, 4, 5}))
    assert topology.left_out == ("CPU 1-2: offline",)
    assert names(topology) == ["cpu1", "cpu2", "cpu4"]


def test_kinds_of_cores_of_one_speed_stay_apart(tmp_path: Path) -> None:
    root = trees.jetson_tx2(tmp_path)
    trees.write(root, {f"{trees.CPU}/online": "0-5"})
    topology = discover(SysFs(root), frozenset(range(6)))
    assert [cluster.cpus for cluster in topology.clusters] == [(0, 3, 4, 5), (1, 2)]
    assert "cluster1-2" in names(topology)


def test_two_policies_of_one_kind_are_one_cluster(tmp_path: Path) -> None:
    topology = discover(SysFs(trees.jetson_orin_nano(tmp_path)), frozenset(range(6)))
    assert names(topology) == ["cpu1", "cpu2", "cpu4", "cpu6"]


def test_a_hybrid_laptop_has_big_with_siblings_and_little(tmp_path: Path) -> None:
    topology = discover(SysFs(trees.laptop(tmp_path)), EIGHT)
    little, big = topology.clusters
    assert (little.name, little.cpus) == ("little", (4, 5, 6, 7))
    assert (big.cpus, big.siblings) == ((0, 2), (0, 1, 2, 3))
    assert names(topology) == ["little1", "little2", "little4", "big1", "big2", "big4smt", "all6"]
    assert topology.cores() == {"little": 4, "big": 4, "all": 8}


def test_a_phone_has_three_clusters(tmp_path: Path) -> None:
    topology = discover(SysFs(trees.phone(tmp_path)), EIGHT)
    expected = ["little1", "little2", "little4", "mid1", "mid2", "mid3", "big1", "all8"]
    assert names(topology) == expected


def test_affinity_isolation_and_quota_shrink_what_is_measured(tmp_path: Path) -> None:
    root = trees.write(
        trees.raspberry_pi_4(tmp_path),
        {f"{trees.CPU}/isolated": "3", "sys/fs/cgroup/cpu.max": "150000 100000"},
    )
    topology = discover(SysFs(root), frozenset({1, 2, 3}))
    assert names(topology) == ["cpu1"]
    assert len(topology.left_out) == 3
    assert topology.quota_cpus == 1.5


def test_no_quota_is_no_limit(tmp_path: Path) -> None:
    root = trees.write(trees.raspberry_pi_4(tmp_path), {"sys/fs/cgroup/cpu.max": "max 100000"})
    assert discover(SysFs(root), frozenset(range(4))).quota_cpus is None


def test_a_machine_that_shows_nothing_still_has_the_cores_it_runs_on(tmp_path: Path) -> None:
    topology = discover(SysFs(tmp_path), frozenset({0, 1}))
    assert names(topology) == ["cpu1", "cpu2"]
