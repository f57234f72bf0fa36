"""What of a policy's choices a device can carry out, and what is done in the place of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dvfo_controller.board import Board
from dvfo_controller.bundle import Action, Cut, Level, MappingChoice, Place, Tensor
from dvfo_controller.choices import CPU, CUT, GPU, LEVEL, MAPPING, Choices
from dvfo_controller.split.engine import Engine
from dvfo_env.errors import SplitError
from tests.controller.trees import RASPBERRY_PI, build
from tests.split.models import small_network

NONE = Level("none", "none", 0.0, 0.0, (0.0,))


def feature(codec: str, lost: float = 0.0) -> Level:
    return Level("feature", codec, 100.0, 0.1, (lost,))


def action(**changes: object) -> Action:
    """Cuts at the input, at the residual, at one that the model lacks, and everything here."""
    parts: dict[str, object] = {
        "cuts": (
            Cut("input", 0, (Tensor("image", (3, 16, 16)),), 3.0),
            Cut("middle", 5, (Tensor("residual", (8, 8, 8)),), 2.0),
            Cut("gone", 6, (Tensor("nowhere", (8, 8, 8)),), 1.0),
            Cut("end", 9, (), 0.0),
        ),
        "mappings": (
            MappingChoice("gpu", (Place("gpu", "gpu", "cpu", 1),), None),
            MappingChoice("cpu1", (Place("cpu1", "cpu", "cpu", 1),), None),
        ),
        "cpu_mhz": (600.0, 1000.0, 1500.0),
        "gpu_mhz": (0.0,),
        "mem_mhz": (0.0,),
        "compression": (
            (feature("fp32-keep1-none"), Level("image", "jpeg-q75", 50.0, 0.1, (1.0,))),
            (feature("fp32-keep1-zlib"), Level("bottleneck", "bottleneck4-int8-zstd", 20.0, 0.1, (0.5,))),
            (feature("fp32-keep1-none"),) * 2,
            (NONE, NONE),
        ),
        "out_of_the_box": (3, 0, 2, 0, 0, 0),
    }
    return Action(**{**parts, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small() -> Engine:
    """A small network without a plan: cuts are found by their tensors' names."""
    return Engine(small_network())


@pytest.fixture
def made(tmp_path: Path, small: Engine) -> tuple[Choices, list[str]]:
    """Choices on a Raspberry Pi, and what was said."""
    build(RASPBERRY_PI, tmp_path / "pi")
    told: list[str] = []
    return Choices(action(), Board.discover(tmp_path / "pi"), small, told.append), told


def asked(choices: Choices, **parts: int) -> np.ndarray:
    indices = np.array([1, 1, 2, 0, 0, 0])
    for name, value in parts.items():
        indices[{"cut": CUT, "mapping": MAPPING, "cpu": CPU, "gpu": GPU, "level": LEVEL}[name]] = value
    return choices.legal(indices)


def test_what_can_be_carried_out_stays(made: tuple[Choices, list[str]]) -> None:
    choices, _ = made
    assert asked(choices).tolist() == [1, 1, 2, 0, 0, 0]
    assert choices.cut(asked(choices)).tensors == ("residual",)
    assert choices.codec(asked(choices)) == "fp32-keep1-zlib"
    assert choices.wanted(asked(choices)).cpu_mhz == 1500.0
    assert choices.wanted(asked(choices)).gpu_mhz is None


def test_what_cannot_is_replaced_and_told_once(made: tuple[Choices, list[str]]) -> None:
    choices, told = made
    assert asked(choices, level=1)[LEVEL] == 0  # a bottleneck: its weights are in no plan
    assert asked(choices, mapping=0)[MAPPING] == 1  # a GPU
    assert asked(choices, cut=2)[CUT] == 3  # a cut that the model does not have
    assert asked(choices, cut=0, level=1)[LEVEL] == 0  # an image codec without a plan
    for words in ("bottleneck4", "gpu", "gone", "jpeg-q75"):
        assert sum(words in line for line in told) == 1, told


def test_the_way_out_of_the_box_is_always_there(made: tuple[Choices, list[str]]) -> None:
    choices, _ = made
    box = choices.out_of_the_box
    assert not choices.cut(box).tensors
    assert choices.mapping(box).threads == 1


def test_a_bundle_for_gpus_alone_is_refused(tmp_path: Path, small: Engine) -> None:
    build(RASPBERRY_PI, tmp_path / "pi")
    only = action(mappings=action().mappings[:1])
    tell: Callable[[str], None] = lambda line: None  # noqa: E731
    with pytest.raises(SplitError, match="GPU"):
        Choices(only, Board.discover(tmp_path / "pi"), small, tell)
