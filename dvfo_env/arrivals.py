"""Counter-based random numbers of an episode, and what they decide: when requests come and how hard they are.

The same stream gives the same requests whatever a policy does.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np

from dvfo_env.compiled import inline_kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
#: Numbers of the draws of an episode's stream; requests draw their gaps from `FIRST_GAP` on.
OFFSET_DRAW, ETA_DRAW, NEXT_EPISODE, FIRST_GAP = 1, 2, 3, 16
FIRST_DIFFICULTY = 1 << 40  # beyond the gaps of any episode


@inline_kernel()  # type: ignore[untyped-decorator]
def mix(stream: np.uint64, draw: int) -> np.uint64:
    """Number `draw` of a counter-based random stream (splitmix64, Steele et al. 2014)."""
    z = stream + np.uint64(draw + 1) * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@inline_kernel()  # type: ignore[untyped-decorator]
def uniform(stream: np.uint64, draw: int) -> float:
    """Number `draw` of the stream as a float in [0, 1)."""
    return np.float64(mix(stream, draw) >> _S11) * (1.0 / 9007199254740992.0)


@inline_kernel()  # type: ignore[untyped-decorator]
def gap_ms(stream: np.uint64, request: int, p: Any) -> float:
    """Time between the arrivals of `request` and the next one."""
    if p.poisson == 0:
        return p.period_ms
    return -p.period_ms * np.log(1.0 - uniform(stream, FIRST_GAP + request))


@inline_kernel()  # type: ignore[untyped-decorator]
def class_of(stream: np.uint64, request: int, p: Any) -> int:
    """Class of difficulty of `request`, drawn independently for each; 0 is the hardest."""
    difficulty = 0
    if p.n_classes > 1:
        drawn = uniform(stream, FIRST_DIFFICULTY + request)
        while difficulty < p.n_classes - 1 and drawn >= p.class_edge[difficulty]:
            difficulty += 1
    return difficulty


@inline_kernel()  # type: ignore[untyped-decorator]
def next_request(s: Any, p: Any) -> None:
    """The next request of the episode becomes the current one."""
    s.arrival_ms += gap_ms(s.stream, s.request, p)
    s.request += 1
    s.difficulty = class_of(s.stream, s.request, p)
