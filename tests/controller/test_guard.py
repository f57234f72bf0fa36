"""Heat, an error or a late policy puts the safe profile in its place, and it ends when it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dvfo_controller.board import Board
from dvfo_controller.safety import Governor, Guard, Wanted
from tests.controller.trees import TX2, build
from tests.hardware.trees import write

HOT = "sys/class/thermal/thermal_zone0/temp"


class Shop:
    """A governed board with a clock that the test moves on."""

    def __init__(self, root: Path, **options: object) -> None:
        self.root = root
        self.now_s = 0.0
        self.told: list[str] = []
        board = Board.discover(build(TX2, root))
        self.governor = Governor(board, tell=lambda line: None, clock=self.clock)
        self.guard = Guard(self.governor, tell=self.told.append, clock=self.clock, **options)

    def clock(self) -> float:
        return self.now_s

    def serve(self) -> float | None:
        """One decision for the highest clock; returns the CPU's limit that stands, None where safe."""
        self.now_s += 1.0
        wanted = self.guard.decide(lambda: Wanted(cpu_mhz=2035.2))
        return None if wanted is None else self.governor.apply(wanted).cpu_mhz


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    with made.governor:
        yield made


def test_a_policy_that_answers_is_followed(shop: Shop) -> None:
    assert shop.serve() == 2035.2
    assert not shop.guard.safe
    assert shop.told == []


def test_a_board_that_is_too_hot_cools_until_it_is_cool(shop: Shop) -> None:
    assert shop.serve() == 2035.2
    write(shop.root, {HOT: 97_500})
    assert shop.serve() is None
    assert shop.governor.apply(Wanted()).cpu_mhz == 960.0
    assert shop.told == ["safe profile: CPU-therm is at 97.5 C (limit 97 C)"]
    write(shop.root, {HOT: 93_000})  # cooler than the limit, not by enough
    assert [shop.serve() for _ in range(20)] == [None] * 20
    write(shop.root, {HOT: 91_000})
    assert shop.serve() == 2035.2
    assert shop.guard.trips == {"hot": 1, "error": 0, "late": 0}


def test_a_given_limit_replaces_the_zones(tmp_path: Path) -> None:
    shop = Shop(tmp_path, limit_c=41.0)
    with shop.governor:
        assert shop.serve() is None


def test_a_policy_that_fails_is_replaced_by_the_clocks_as_found(shop: Shop) -> None:
    def broken() -> Wanted:
        raise ZeroDivisionError("nonsense")

    shop.governor.apply(Wanted(cpu_mhz=345.6))
    assert shop.guard.decide(broken) is None
    assert shop.governor.apply(Wanted()).cpu_mhz == 2035.2
    assert shop.told == ["safe profile: the policy failed: ZeroDivisionError: nonsense"]
    assert [shop.serve() for _ in range(9)] == [None] * 9
    assert shop.serve() == 2035.2
    assert shop.told[1:] == ["safe profile ends after 10 s (the policy failed: ZeroDivisionError: nonsense)"]


def test_an_answer_that_cannot_be_used_is_an_error(shop: Shop) -> None:
    shop.guard.failed(ValueError("17 is no cut"))
    assert shop.guard.trip.why == "error"
    assert shop.serve() is None


def test_a_policy_that_hangs_costs_its_deadline_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path, deadline_ms=30.0)
    free = threading.Event()
    with shop.governor:
        begun = time.monotonic()
        assert shop.guard.decide(free.wait) is None
        assert 0.03 <= time.monotonic() - begun < 1.0
        assert shop.guard.trip.why == "late"
        shop.now_s += 60.0
        begun = time.monotonic()
        assert shop.serve() is None  # it still hangs: nobody waits for it again
        assert time.monotonic() - begun < 0.03
        assert shop.guard.trips["late"] == 2
        free.set()
        time.sleep(0.05)
        shop.now_s += 60.0
        assert shop.serve() == 2035.2  # what it answered meanwhile is thrown away


def test_temperatures_are_looked_at_no_more_often_than_told(shop: Shop) -> None:
    first = shop.guard.look()
    assert shop.guard.look() is first
    shop.now_s += 1.0
    assert shop.guard.look() is not first
