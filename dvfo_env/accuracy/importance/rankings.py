"""Static rankings: one importance a channel, from the calibration set alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dvfo_env.accuracy.importance.features import CutFeatures
from dvfo_env.accuracy.importance.gates import gate_gradients, means
from dvfo_env.errors import ConfigError

#: Images whose gradients are taken; more change the order little and the tail is what costs.
GRADIENT_IMAGES = 64


def static_importance(
    features: CutFeatures, ranking: str, fills: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Importance of the channels, float32 [C] per tensor, larger is more important.

    magnitude: mean |x| (Li et al. 2017, arXiv 1608.08710, for feature maps)
    variance: of x around the channel's mean
    taylor: mean over images of |sum gradient x (x - fill)|, the first-order change of the log probability of
        the full network's class when the channel is replaced by its fill (Molchanov et al. 2017, arXiv
        1611.06440, with the mean in zero's place)

    fills: [C] per tensor, what stands for a dropped channel; None: its mean. Raises ConfigError for another
    ranking.
    """
    if ranking == "magnitude":
        return [values.abs().mean(dim=_others(values, axis)) for values, axis in _pairs(features)]
    if ranking == "variance":
        return [values.var(dim=_others(values, axis), correction=0) for values, axis in _pairs(features)]
    if ranking == "taylor":
        some = features.some(GRADIENT_IMAGES)
        return [g.abs().mean(dim=0) for g in gate_gradients(some, fills or means(features))]
    raise ConfigError(f"ranking: {ranking!r} is not one of magnitude, variance, taylor")


def order_of(importance: Tensor) -> Tensor:
    """Channels int64 [C], the most important first; equal ones in their own order."""
    return torch.argsort(importance, descending=True, stable=True)


def _pairs(features: CutFeatures) -> list[tuple[Tensor, int]]:
    return list(zip(features.tensors, features.axes, strict=True))


def _others(values: Tensor, axis: int) -> list[int]:
    return [other for other in range(values.dim()) if other != axis]
