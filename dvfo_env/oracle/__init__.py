"""Exact searches: the feasible clairvoyant, the bound no policy can beat, and the best fixed action."""

from dvfo_env.oracle.bound import bound_costs
from dvfo_env.oracle.clairvoyant import clairvoyant_actions
from dvfo_env.oracle.fixed import FixedSearch, best_fixed_action

__all__ = ["FixedSearch", "best_fixed_action", "bound_costs", "clairvoyant_actions"]
