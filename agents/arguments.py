"""Types of command-line options; needs nothing but the standard library, so that `--help` is quick."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def at_least(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    """An argparse type: a number of `kind` that is finite and not below `least`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {least:g}")
        return value

    return parse
