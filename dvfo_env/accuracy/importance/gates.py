"""Gates: a number per channel that fades it from its own values (1) to its fill (0)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dvfo_env.accuracy.importance.features import CutFeatures, divergence


def means(features: CutFeatures) -> list[Tensor]:
    """Mean of each channel over the calibration set, [C] per tensor."""
    return [
        values.mean(dim=[axis for axis in range(values.dim()) if axis != along])
        for values, along in zip(features.tensors, features.axes, strict=True)
    ]


def gated(
    features: CutFeatures, tensors: Sequence[Tensor], fills: Sequence[Tensor], gates: Sequence[Tensor]
) -> list[Tensor]:
    """Tensors as fill + gate * (values - fill); fills [C], gates [C] or [N, C] per tensor."""
    result = []
    for number, (values, fill, gate) in enumerate(zip(tensors, fills, gates, strict=True)):
        base = features.along(fill, number)
        result.append(base + features.along(gate, number) * (values - base))
    return result


def gate_gradients(features: CutFeatures, fills: Sequence[Tensor]) -> list[Tensor]:
    """Derivative by each gate, where all are open, of log p of the full network's class, [N, C] per tensor.

    By the chain rule it is the sum over a channel's values of gradient x (value - fill): to first order, how
    much log p falls when the channel is replaced by its fill.
    """
    collected: list[list[Tensor]] = [[] for _ in features.tensors]
    for tensors, reference in features.batches():
        gates = [torch.ones(len(reference), channels, requires_grad=True) for channels in features.channels]
        logits = features.tail(gated(features, tensors, fills, gates))
        chosen = logits.log_softmax(-1).gather(-1, reference.argmax(-1, keepdim=True))
        for part, gradient in zip(collected, torch.autograd.grad(chosen.sum(), gates), strict=True):
            part.append(gradient)
    return [torch.cat(parts) for parts in collected]


def dropped_divergence(features: CutFeatures, fills: Sequence[Tensor], gates: Sequence[Tensor]) -> float:
    """Mean divergence from the full network with gates [C] or [N, C] per tensor, nats."""
    total, begin = 0.0, 0
    with torch.no_grad():
        for tensors, reference in features.batches():
            end = begin + len(reference)
            here = [gate[begin:end] if gate.dim() == 2 else gate for gate in gates]
            begin = end
            logits = features.tail(gated(features, tensors, fills, here))
            total += float(divergence(logits, reference).sum())
    return total / len(features)


def keep_gates(scores: Tensor, count: int) -> Tensor:
    """1 for the `count` largest scores along the last axis, else 0; of equal ones the lower channel wins."""
    chosen = scores.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return torch.zeros_like(scores).scatter_(-1, chosen, 1.0)


def draws(images: int, steps: int, batch: int) -> list[Tensor]:
    """Numbers of the images of each training step: every one once before any comes again."""
    needed = steps * batch
    rounds = [torch.randperm(images) for _ in range(-(-needed // images))]
    return list(torch.cat(rounds)[:needed].reshape(steps, batch)) if steps else []
