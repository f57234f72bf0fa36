"""What a decoder would give for a whole batch, without coding it: the fast path for measuring accuracy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.quantiser import BLOCK, Floats, Quantiser, to_half
from dvfo_env.codecs.tensors import Plan, largest


def roundtrip(batch: Floats, plan: Plan, importance: NDArray[Any] | None, bits: int) -> Floats:
    """Restored values of a batch float32 [N, *shape]; importance [N, C] chooses channels per input."""
    calibration = plan.calibration
    axis, shape = calibration.axis, calibration.shape
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    view = np.ascontiguousarray(batch).reshape(len(batch), before, shape[axis], after)
    out = np.empty_like(view)
    if plan.channels is None:
        _restore(view, plan.quantiser, bits, out)
    elif importance is None:
        _restore_chosen(view, plan.channels, plan.chosen, plan, bits, out)
    else:
        for i, channels in enumerate(largest(importance, plan.kept)):
            chosen = plan.quantiser and plan.quantiser.at(channels)
            _restore_chosen(view[i : i + 1], channels, chosen, plan, bits, out[i : i + 1])
    return out.reshape(batch.shape)


def _restore_chosen(
    view: Floats,
    channels: NDArray[np.int64],
    quantiser: Quantiser | None,
    plan: Plan,
    bits: int,
    out: Floats,
) -> None:
    """Restore some channels of [N, before, C, after] and fill the others."""
    chosen = np.take(view, channels, axis=2)
    _restore(chosen, quantiser, bits, chosen)
    out[:] = plan.calibration.fill[:, None]
    out[:, :, channels] = chosen


def _restore(view: Floats, quantiser: Quantiser | None, bits: int, out: Floats) -> None:
    """Restore [N, before, k, after] in blocks that stay in the cache; `out` may be `view`."""
    if quantiser is None:
        out[:] = view if bits == 32 else to_half(view)
        return
    n, before, kept, after = view.shape
    values, restored = view.reshape(n * before, kept, after), out.reshape(n * before, kept, after)
    channels_at_once = min(kept, max(1, BLOCK // after))
    lines_at_once = max(1, BLOCK // (channels_at_once * after))
    for first in range(0, kept, channels_at_once):
        rows = slice(first, first + channels_at_once)
        part = quantiser.at(rows)
        for begin in range(0, len(values), lines_at_once):
            lines = slice(begin, begin + lines_at_once)
            part.requantise(values[lines, rows], restored[lines, rows])
