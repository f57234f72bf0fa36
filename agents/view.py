"""The joint action as one agent sees it: all of its free parts, or only those it is allowed to decide on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.config import LearnerConfig
from dvfo_env.spaces import ActionView
from dvfo_env.tables import ACTION_PARTS, CostTables


class AgentView(ActionView):
    """`ActionView` in which parts outside `acts_on` stay as out of the box: first mapping, highest clocks,
    first level, everything local.

    Args:
        tables: the compiled scenario.
        continuous: Box[-1, 1] actions instead of MultiDiscrete.
        acts_on: names of the parts that the agent decides on; None for all.
    """

    def __init__(self, tables: CostTables, continuous: bool, acts_on: tuple[str, ...] | None = None) -> None:
        pinned = [acts_on is not None and part not in acts_on for part in ACTION_PARTS]
        self._fixed = np.where(pinned, tables.out_of_the_box, 0)
        choices = {
            part: values[:1] if fixed else values
            for (part, values), fixed in zip(tables.choices.items(), pinned, strict=True)
        }
        super().__init__(dataclasses.replace(tables, choices=choices), continuous)

    def to_indices(self, actions: Any) -> NDArray[np.int64]:
        """Joint-action indices int64 [N, parts] of actions [N, parts the agent decides on].

        Raises:
            ActionError: as `ActionView.to_indices`.
        """
        return super().to_indices(actions) + self._fixed


def agent_view(tables: CostTables, config: LearnerConfig) -> AgentView:
    """The view of the agent that `config` describes."""
    return AgentView(tables, config.continuous, config.acts_on)
