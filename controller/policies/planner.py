"""The planner on a device: belief, memory and the exact search, all by numpy.

For every request it takes the joint action with the least expected cost over what it believes the uplink and
the server to be; see `present` and `search`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_controller.policies.cost_model import CPU, GPU, MEM, CostModel, Ints, Numbers
from dvfo_controller.policies.packing import (
    Arrays,
    PresentNumbers,
    layout_of,
    one_row,
    settings_of,
    unpack_cost_model,
    unpack_present,
)
from dvfo_controller.policies.present import Present
from dvfo_controller.policies.search import Search
from dvfo_controller.policies.situation import Situations, situations
from dvfo_controller.policies.space import prepare_space


@dataclass(frozen=True)
class PlannerNumbers:
    """Settings of a planner in a bundle."""

    numbers: Numbers
    present: PresentNumbers
    queue_share: float


class PlannerPolicy:
    """A `DevicePolicy` that plans one request ahead.

    `believed` holds the worlds and weights that the last decision rests on.

    Args:
        model: the device's cost tables.
        present: what it believes by.
        queue_share: how much of what the backlog costs later requests counts as cost of a request.
    """

    def __init__(self, model: CostModel, present: Present, queue_share: float) -> None:
        self.model, self.present = model, present
        self.search = Search(model, prepare_space(model), queue_share, present.classes)
        self.reset()

    def reset(self) -> None:
        """Forget the last action and what was late."""
        self._before = self.model.out_of_the_box
        self.believed = np.zeros((0, 4), dtype=np.float32), np.zeros(0)
        self.present.reset(1)

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """
        row = one_row(observation, self.present.layout.size)
        worlds, weights = self.present.worlds(row, self._before[None])
        here = seen_by(self.model, self.present, row).here(0)
        self.believed = worlds[0], weights[0]
        self._before, _ = self.search(here, *self.believed, self._before)
        return self._before.copy()

    def took(self, action: Ints) -> None:
        """Say that `action` [6] was taken in the place of what `decide` gave."""
        self._before = action.copy()


def seen_by(model: CostModel, present: Present, row: NDArray[np.float32]) -> Situations:
    """The device's own state as far as an observation tells."""
    sizes = model.sizes
    return situations(model.numbers, (sizes[CPU], sizes[GPU], sizes[MEM]), present.layout, row)


def open(bundle: Bundle) -> PlannerPolicy:
    """The policy of a bundle of kind planner.

    Raises:
        BundleError: settings or tables are missing or do not fit.
    """
    settings, arrays = settings_of(bundle, PlannerNumbers), Arrays(bundle)
    model = unpack_cost_model(bundle, arrays, settings.numbers)
    return PlannerPolicy(
        model, unpack_present(arrays, settings.present, model, layout_of(bundle)), settings.queue_share
    )
