"""Reading an observation: features by name, turned back into what a device saw.

How a feature is scaled is the environment's own (and a bundle's manifest says it): here it is undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Observations = NDArray[np.float32]
_NEVER = 0.9999999


class Scaled(Protocol):
    """A feature of the observation: the value that maps to 0 and how far it is from there to 1."""

    @property
    def name(self) -> str:
        """Of the feature."""

    @property
    def zero(self) -> float:
        """What maps to 0, in log2 where the feature is a logarithm."""

    @property
    def span(self) -> float:
        """Distance from there to 1; of an age the time that maps to 1/2."""


class Layout:
    """The columns of an observation float32 [N, features] by name, and their scales."""

    def __init__(self, features: Sequence[Scaled]) -> None:
        self._columns = {feature.name: i for i, feature in enumerate(features)}
        self._scales = {feature.name: (float(feature.zero), float(feature.span)) for feature in features}
        self.size = len(features)

    def raw(self, observations: Observations, name: str) -> Observations:
        """A feature as it is, float32 [N].

        Raises:
            KeyError: there is no such feature.
        """
        return observations[:, self._columns[name]]

    def feature(self, observations: Observations, name: str) -> Floats:
        """A feature as it is, float64 [N]."""
        return self.raw(observations, name).astype(np.float64)

    def linear(self, observations: Observations, name: str) -> Floats:
        """The value of a linear feature, in its unit [N]."""
        zero, span = self._scales[name]
        return self.feature(observations, name) * span + zero

    def log2(self, observations: Observations, name: str) -> Floats:
        """log2 of the value of a logarithmic feature [N]."""
        return self.linear(observations, name)

    def power(self, observations: Observations, name: str) -> Floats:
        """The value of a logarithmic feature, in its unit [N]."""
        value: Floats = np.exp2(self.log2(observations, name))
        return value

    def age_ms(self, observations: Observations, name: str) -> Floats:
        """An age [N]; infinite where what it counts from never happened."""
        share = np.maximum(self.feature(observations, name), 0.0)
        never = share > _NEVER
        ratio = share / np.where(never, 1.0, 1.0 - share)
        return np.where(never, np.inf, ratio * self._scales[name][1])

    def count(self, observations: Observations, name: str) -> NDArray[np.int64]:
        """A count [N], as far as the feature can tell."""
        return np.rint(self.linear(observations, name)).astype(np.int64)
