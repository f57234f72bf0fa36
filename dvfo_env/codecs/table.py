"""A compression table: for every cut and level the bytes sent, the time to encode and decode, the accuracy
lost.

A table is data. The shipped one is assumed (its anchors are named in the file); a measured table fits the
same schema and replaces it without a change anywhere else.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dvfo_env.errors import ConfigError
from dvfo_env.schema import Coefficient, Evidence, Record, load_yaml
from dvfo_env.workloads import WorkloadCard

_TABLES = Path(__file__).parent / "tables"


class Level(Record):
    """One setting of the encoder.

    `bits_per_element` is what leaves the entropy coder, per element kept; `accuracy_lost_points` is given at
    the
    depths of `CompressionTable.depths` and interpolated linearly in between.
    """

    name: str
    bits_per_element: Annotated[float, Field(gt=0.0, le=64.0)]
    keep_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    encode_ns_ghz_per_element: Annotated[float, Field(ge=0.0)]
    decode_ns_per_element: Annotated[float, Field(ge=0.0)]
    accuracy_lost_points: tuple[Annotated[float, Field(ge=0.0, le=100.0)], ...]


class LevelCosts(NamedTuple):
    """Costs of every (cut, level): arrays of shape [n_cuts, n_levels]."""

    bytes: NDArray[np.float64]
    encode_ms_ghz: NDArray[np.float64]
    decode_ms: NDArray[np.float64]
    accuracy_lost_points: NDArray[np.float64]


class CompressionTable(Record):
    """Levels for features and for the raw input, ordered from most to fewest bytes.

    The raw input (cut 0) has codecs of its own; where there are fewer of them than feature levels, the last
    one
    stands for the rest.
    """

    name: str
    title: str
    evidence: Evidence
    source: str
    note: str
    depths: tuple[float, ...]
    feature_levels: tuple[Level, ...]
    input_levels: tuple[Level, ...]

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names of the feature levels, in the order of the action."""
        return tuple(level.name for level in self.feature_levels)

    def costs(self, card: WorkloadCard, levels: tuple[int, ...]) -> LevelCosts:
        """Costs of the chosen feature `levels` at every cut of `card`; the last cut sends nothing and costs
        nothing.

        encode time = encode_ms_ghz / (CPU clock in GHz), one core; decode time is the server's.
        """
        shape = (len(card.cuts), len(levels))
        costs = LevelCosts(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape))
        for cut in range(len(card.cuts) - 1):
            elements, depth = float(card.elements[cut]), float(card.depth[cut])
            for column, index in enumerate(levels):
                level = self._level(cut, index)
                sent = elements * level.keep_fraction
                costs.bytes[cut, column] = np.ceil(sent * level.bits_per_element / 8.0)
                costs.encode_ms_ghz[cut, column] = elements * level.encode_ns_ghz_per_element * 1e-6
                costs.decode_ms[cut, column] = elements * level.decode_ns_per_element * 1e-6
                costs.accuracy_lost_points[cut, column] = np.interp(
                    depth, self.depths, level.accuracy_lost_points
                )
        return costs

    def encoder(self, cut: int, level: int) -> str:
        """What encodes at this cut on this feature level: the raw input has codecs of its own."""
        return self._level(cut, level).name

    def coefficients(self) -> dict[str, Coefficient]:
        """The table as one labelled coefficient, for the evidence list of a scenario."""
        entry = Coefficient(
            value=float(len(self.feature_levels)),
            unit="levels",
            evidence=self.evidence,
            source=self.source,
            note=self.note,
        )
        return {"compression.table": entry}

    def _level(self, cut: int, index: int) -> Level:
        if cut == 0:
            return self.input_levels[min(index, len(self.input_levels) - 1)]
        return self.feature_levels[index]


def list_compression_tables() -> tuple[str, ...]:
    """Names of the shipped tables, sorted."""
    return tuple(sorted(file.stem for file in _TABLES.glob("*.yaml")))


@cache
def load_compression(name_or_path: str | Path) -> CompressionTable:
    """Load a table by shipped name or from a YAML file, checked for order and shape.

    Raises:
        ConfigError: unknown name, unreadable file, levels not ordered from most to fewest bytes, or a level
        whose
            accuracy list does not match `depths`.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = _TABLES / f"{name_or_path}.yaml"
        if not path.is_file():
            known = ", ".join(list_compression_tables())
            raise ConfigError(
                f"compression {str(name_or_path)!r}: not a shipped table and not a file; shipped: {known}"
            )
    table = load_yaml(path, CompressionTable)
    for kind in ("feature_levels", "input_levels"):
        levels: tuple[Level, ...] = getattr(table, kind)
        if not levels:
            raise ConfigError(f"{path}: {kind}: needs at least one level")
        sizes = [level.bits_per_element * level.keep_fraction for level in levels]
        if sizes != sorted(sizes, reverse=True):
            raise ConfigError(f"{path}: {kind}: must be ordered from most to fewest bytes")
        for level in levels:
            if len(level.accuracy_lost_points) != len(table.depths):
                raise ConfigError(
                    f"{path}: {kind}.{level.name}: accuracy_lost_points needs {len(table.depths)} values"
                )
    return table
