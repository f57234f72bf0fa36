import numpy as np
import pytest

from dvfo_agents.view import AgentView
from dvfo_env.spaces import ActionView
from dvfo_env.tables import ACTION_PARTS, CUT, LEVEL, CostTables


@pytest.mark.parametrize("continuous", [False, True])
def test_an_unrestricted_agent_sees_the_whole_action(tables: CostTables, continuous: bool) -> None:
    view, whole = AgentView(tables, continuous), ActionView(tables, continuous)
    assert view.space == whole.space
    whole.space.seed(0)
    actions = np.stack([whole.space.sample() for _ in range(50)])
    np.testing.assert_array_equal(view.to_indices(actions), whole.to_indices(actions))


@pytest.mark.parametrize("continuous", [False, True])
def test_a_restricted_agent_leaves_the_rest_as_out_of_the_box(tables: CostTables, continuous: bool) -> None:
    view = AgentView(tables, continuous, ("cut", "compression"))
    assert view.free == ("cut", "compression")
    view.space.seed(0)
    indices = view.to_indices(np.stack([view.space.sample() for _ in range(200)]))
    for part in range(len(ACTION_PARTS)):
        if part in (CUT, LEVEL):
            assert len(np.unique(indices[:, part])) == tables.sizes[part]
        else:
            assert (indices[:, part] == tables.out_of_the_box[part]).all()
