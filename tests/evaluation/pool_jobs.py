"""Jobs of the pool's own tests; a module that a new process imports quickly."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dvfo_evaluation.pool import Event, Tell


@dataclass(frozen=True)
class Job:
    """Does what its name says: `dies`, `raises`, or tells its name."""

    kind: str

    def work(self, number: int, tell: Tell) -> None:
        if self.kind == "dies":
            os._exit(7)
        if self.kind == "raises":
            raise ValueError("odd")
        tell(Event(number, self.kind))
