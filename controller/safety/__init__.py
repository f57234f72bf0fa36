"""Everything that keeps a machine as it was found: journal, dwell, safe profile, one master at a time."""

from dvfo_controller.safety.governor import Applied, Governor, Wanted
from dvfo_controller.safety.guard import Guard

__all__ = ["Applied", "Governor", "Guard", "Wanted"]
