"""What of a policy's choices this device can carry out, and what is done in the place of the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.board import Board
from dvfo_controller.bundle import PARTS, Action, MappingChoice
from dvfo_controller.safety.governor import Wanted
from dvfo_controller.split.codecs import Codecs
from dvfo_controller.split.cutting import Cut
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_env.errors import SplitError
from dvfo_env.hardware.clocks import Domain
from dvfo_env.hardware.topology import Topology

CUT, MAPPING, CPU, GPU, MEM, LEVEL = range(len(PARTS))
_CLOCKS: tuple[tuple[int, Domain], ...] = ((CPU, "cpu"), (GPU, "gpu"), (MEM, "memory"))


class Choices:
    """The joint actions of a bundle on this device.

    Whatever cannot be carried out here is told once and masked: `legal` puts the nearest choice that can be
    in its place (clocks: the one the board would take; compression: the next that loses less; mappings: the
    first on a CPU; cuts: everything here).

    Args:
        action: the legal values of the bundle.
        board: whose clocks are set.
        engine: what runs the network, with the plan that names its cuts.
        tell: where a line about every masked choice goes.
    """

    def __init__(
        self,
        action: Action,
        board: Board,
        engine: Engine,
        tell: Callable[[str], None],
    ) -> None:
        self._action = action
        #: Encoders of everything that can be chosen, made while looking what works.
        self.codecs = Codecs(engine)
        self._engine = engine
        self._cuts = [self._cut(index, tell) for index in range(len(action.cuts))]
        self._mappings = [_mapping(choice, board.usable) for choice in action.mappings]
        self._levels = [self._level_map(index, tell) for index in range(len(action.cuts))]
        masked = [
            choice.name for choice, found in zip(action.mappings, self._mappings, strict=True) if not found
        ]
        if masked:
            tell(f"masked mappings, which need more than this runtime's CPU: {', '.join(masked)}")
        usable = [i for i, found in enumerate(self._mappings) if found is not None]
        if not usable:
            raise SplitError("no mapping of the bundle can be carried out here: all need a GPU")
        self._mapping_map = [
            i if self._mappings[i] is not None else usable[0] for i in range(len(self._mappings))
        ]
        self._clock_maps = {
            part: _nearest_legal(board, domain, self._clocks(part)) for part, domain in _CLOCKS
        }

    def legal(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The joint action [6] that is carried out where a policy asks for `indices` [6]."""
        found = np.array(indices, dtype=np.int64)
        found[MAPPING] = self._mapping_map[int(found[MAPPING])]
        for part, allowed in self._clock_maps.items():
            found[part] = allowed[int(found[part])]
        level = self._levels[int(found[CUT])].get(int(found[LEVEL]))
        if level is None or self._cuts[int(found[CUT])] is None:
            found[CUT], level = len(self._cuts) - 1, 0
        found[LEVEL] = level
        return found

    @property
    def out_of_the_box(self) -> NDArray[np.int64]:
        """Everything here, with the first mapping."""
        return self.legal(np.array(self._action.out_of_the_box, dtype=np.int64))

    def cut(self, indices: NDArray[np.int64]) -> Cut:
        """Where a legal joint action cuts the network."""
        found = self._cuts[int(indices[CUT])]
        assert found is not None
        return found

    def mapping(self, indices: NDArray[np.int64]) -> Mapping:
        """Threads and cores of a legal joint action."""
        found = self._mappings[int(indices[MAPPING])]
        assert found is not None
        return found

    def codec(self, indices: NDArray[np.int64]) -> str:
        """What encodes for a legal joint action."""
        return self._action.compression[int(indices[CUT])][int(indices[LEVEL])].codec

    def wanted(self, indices: NDArray[np.int64]) -> Wanted:
        """The clocks of a legal joint action."""
        cpu, gpu, mem = (self._clocks(part)[int(indices[part])] or None for part, _ in _CLOCKS)
        return Wanted(cpu, gpu, mem)

    @property
    def used_cuts(self) -> list[Cut]:
        """Every cut that can be chosen here."""
        return [cut for cut in self._cuts if cut is not None]

    @property
    def used_mappings(self) -> list[Mapping]:
        """Every mapping that can be chosen here."""
        return list(dict.fromkeys(mapping for mapping in self._mappings if mapping is not None))

    def _clocks(self, part: int) -> tuple[float, ...]:
        return {CPU: self._action.cpu_mhz, GPU: self._action.gpu_mhz, MEM: self._action.mem_mhz}[part]

    def _cut(self, index: int, tell: Callable[[str], None]) -> Cut | None:
        """The engine's cut by the bundle's name or by its tensors'; None where the model has neither."""
        known = self._action.cuts[index]
        if index == len(self._action.cuts) - 1:
            return self._engine.network.last
        try:
            return self._engine.cut(known.name)
        except SplitError as by_name:
            try:
                return self._engine.cut([tensor.name for tensor in known.tensors])
            except SplitError:
                tell(f"masked cut {known.name}: {by_name}")
                return None

    def _level_map(self, index: int, tell: Callable[[str], None]) -> dict[int, int]:
        """For every level of a cut the one that is sent: itself, else the next that loses less, else more."""
        cut, levels = self._cuts[index], self._action.compression[index]
        if cut is None or not cut.tensors:
            return dict.fromkeys(range(len(levels)), 0)
        works = []
        for number, level in enumerate(levels):
            try:
                self.codecs.check(cut, level.codec)
                works.append(number)
            except SplitError as error:
                tell(f"masked compression of cut {cut.name}: {level.codec}: {error}")
        if not works:
            return {}
        return {
            number: max((i for i in works if i <= number), default=works[0]) for number in range(len(levels))
        }


def _mapping(choice: MappingChoice, topology: Topology) -> Mapping | None:
    """Cores of a mapping on one cluster of CPUs, from the highest number down; None for anything else."""
    if len(choice.places) != 1 or choice.places[0].kind != "cpu":
        return None
    (place,) = choice.places
    named = [cluster.cpus for cluster in topology.clusters if cluster.name == place.cluster]
    cpus = named[0] if named else topology.cpus
    return Mapping(place.threads, tuple(cpus[-place.threads :]) if len(cpus) >= place.threads else ())


def _nearest_legal(board: Board, domain: Domain, clocks_mhz: tuple[float, ...]) -> list[int]:
    """Index of the clock that is set in the place of each: itself, else the next lower, else the lowest."""
    if not any(mhz > 0.0 for mhz in clocks_mhz):
        return list(range(len(clocks_mhz)))
    allowed = [i for i, legal in enumerate(board.choices(domain, clocks_mhz)) if legal]
    return [max((i for i in allowed if i <= index), default=allowed[0]) for index in range(len(clocks_mhz))]
