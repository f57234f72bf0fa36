"""How far a measurement of this machine is, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvfo_env.profiling.measure import Progress


def profile_line(progress: Progress) -> str:
    """Visits made, conditions settled, time left."""
    minutes, seconds = divmod(round(progress.left_s), 60)
    left = f"{minutes}:{seconds:02d} left at most"
    if progress.stage == "power":
        return f"{progress.network}: power, window {progress.settled + 1} of {progress.conditions}, {left}"
    worst = "" if progress.worst_percent is None else f", worst ±{progress.worst_percent:.1f} %"
    settled = f"{progress.settled} of {progress.conditions} settled"
    return f"{progress.network}: {progress.visits} visits, {settled}{worst}, {left}"
