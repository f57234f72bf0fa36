"""Training of the spatial-channel attention with the network frozen; the tail is the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dvfo_env.accuracy.importance.attention import _LEAST, ChannelAttention
from dvfo_env.accuracy.importance.features import CutFeatures, divergence
from dvfo_env.accuracy.importance.gates import draws, dropped_divergence, gated, keep_gates, means
from dvfo_env.codecs.settings import kept_channels

#: Steps of Adam and images a step: about 400 images through the tail and back.
STEPS, STEP_IMAGES = 48, 8
#: Adam's rates for the few numbers of the energy rule, and for the MLP, which could learn images by heart.
RATE, MLP_RATE = 0.01, 1e-4
#: Keep ratios that the steps go through in turn.
RATIOS = (1 / 2, 1 / 4, 3 / 4, 1 / 8, 1 / 2, 1 / 4, 3 / 8, 1 / 16)
#: Width of a soft gate at the first and at the last step, in units of the scores (log energy).
TEMPERATURES = (1.0, 0.1)
#: Keep ratios at which images held out decide whether training helped.
_JUDGED = (1 / 2, 1 / 4)
_MOST_HIDDEN = 64
_SENSITIVITY_IMAGES = 48


class AttentionNetwork(nn.Module):
    """`ChannelAttention` for batches, with gradients: the same arithmetic."""

    def __init__(self, fill: Tensor, scale: Tensor, bias: Tensor, axis: int) -> None:
        """Start from energy x sensitivity, whose logarithm is `bias`; all that is learned is zero."""
        super().__init__()
        channels = len(fill)
        hidden = max(8, min(_MOST_HIDDEN, channels // 4))
        self.axis = axis
        self.fill, self.scale = fill, scale
        self.bias = nn.Parameter(bias.clone())
        self.slope = nn.Parameter(torch.ones(1))
        self.kernel = nn.Parameter(torch.zeros(1, 2, 3, 3))
        self.offset = nn.Parameter(torch.zeros(1))
        self.hidden = nn.Linear(2 * channels, hidden)
        self.out = nn.Linear(hidden, channels, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, values: Tensor) -> Tensor:
        """Scores [N, C] of a batch of the tensor [N, ...]."""
        rows = values.movedim(self.axis, 1)
        grid = tuple(rows.shape[2:]) if rows.dim() == 4 else (rows[0, 0].numel(), 1)
        lost = rows.flatten(2) - self.fill[:, None] if rows.dim() > 2 else (rows - self.fill)[..., None]
        z = lost / self.scale[:, None]
        positions = torch.ones(len(z), z.shape[2])
        if z.shape[2] > 1:
            pooled = torch.stack([z.square().mean(1), z.abs().amax(1)], 1).reshape(len(z), 2, *grid)
            convolved = nn.functional.conv2d(pooled, self.kernel, padding=1)
            positions = torch.sigmoid(convolved + self.offset).flatten(1)
        weights = positions / positions.sum(1, keepdim=True)
        energy = torch.log(torch.einsum("ncp,np->nc", z.square(), weights) + float(_LEAST))
        learned = self.out(torch.relu(self.hidden(torch.cat([energy, z.mean(2)], 1))))
        scores: Tensor = self.slope * energy + self.bias + learned
        return scores

    def groups(self) -> list[dict[str, object]]:
        """Parameters and rates for the optimiser."""
        mlp = [*self.hidden.parameters(), *self.out.parameters()]
        rule = [self.bias, self.slope, self.kernel, self.offset]
        return [{"params": rule, "lr": RATE}, {"params": mlp, "lr": MLP_RATE}]

    def export(self, channel_axis: int) -> ChannelAttention:
        """The arrays, for the device."""
        return ChannelAttention(
            channel_axis=channel_axis,
            fill=self.fill.numpy(),
            scale=self.scale.numpy(),
            kernel=self.kernel.detach()[0].numpy().copy(),
            offset=self.offset.detach().numpy().copy(),
            slope=self.slope.detach().numpy().copy(),
            bias=self.bias.detach().numpy().copy(),
            hidden_weight=self.hidden.weight.detach().numpy().copy(),
            hidden_bias=self.hidden.bias.detach().numpy().copy(),
            out_weight=self.out.weight.detach().numpy().copy(),
        )


def train_attention(
    features: CutFeatures, *, fills: Sequence[Tensor] | None = None, steps: int = STEPS, seed: int = 0
) -> list[ChannelAttention]:
    """Attentions of the tensors that cross a cut.

    Each step keeps the best channels of each input (a share from `RATIOS` in turn), fades the others to
    their fill and compares the tail's answer with the full network's. Gates are soft at first and nearly
    hard at the end (`TEMPERATURES`), so that they have a gradient all along. Images held out decide whether
    the trained attention is returned or the one it started from.

    fills: [C] per tensor; None: the channels' means. The same `seed` gives the same attention.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        networks = initial_networks(features, list(fills) if fills is not None else means(features))
        start = [network.export(axis) for network, axis in zip(networks, features.channel_axes, strict=True)]
        if not steps:
            return start
        training, held_out = features.parted()
        _distil(training, networks, steps)
    trained = [network.export(axis) for network, axis in zip(networks, features.channel_axes, strict=True)]
    return min((start, trained), key=lambda attentions: chosen_divergence(held_out, attentions))


def chosen_divergence(features: CutFeatures, attentions: Sequence[ChannelAttention]) -> float:
    """Divergence from the full network, mean of each input keeping its best half and its best quarter."""
    fills = [torch.from_numpy(attention.fill) for attention in attentions]
    scores = [
        torch.from_numpy(np.stack([attention.importance(value) for value in values.numpy()]))
        for attention, values in zip(attentions, features.tensors, strict=True)
    ]
    total = 0.0
    for ratio in _JUDGED:
        gates = [keep_gates(s, kept_channels(ratio, s.shape[1])) for s in scores]
        total += dropped_divergence(features, fills, gates) / len(_JUDGED)
    return total


def _distil(features: CutFeatures, networks: Sequence[AttentionNetwork], steps: int) -> None:
    """Train the networks in place."""
    optimiser = torch.optim.Adam([group for n in networks for group in n.groups()])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step, images in enumerate(draws(len(features), steps, STEP_IMAGES)):
        tensors = tuple(tensor[images] for tensor in features.tensors)
        warmth = TEMPERATURES[0] + (TEMPERATURES[1] - TEMPERATURES[0]) * step / steps
        gates = [
            soft_gates(network(tensor), RATIOS[step % len(RATIOS)], warmth)
            for network, tensor in zip(networks, tensors, strict=True)
        ]
        logits = features.tail(gated(features, tensors, [n.fill for n in networks], gates))
        loss = divergence(logits, features.reference[images]).clamp_min(0).log1p().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()


def soft_gates(scores: Tensor, ratio: float, temperature: float) -> Tensor:
    """Gates [N, C] in (0, 1): a sigmoid of the scores around the threshold between kept and dropped channels.

    The threshold moves with the scores so that, to first order, as much is kept as before: without that, any
    training opens all gates instead of choosing between them.
    """
    count, fixed = kept_channels(ratio, scores.shape[1]), scores.detach()
    ordered = fixed.sort(dim=1, descending=True).values
    threshold = (ordered[:, count - 1] + ordered[:, min(count, scores.shape[1] - 1)])[:, None] / 2
    gates = torch.sigmoid((fixed - threshold) / temperature)
    weights = gates * (1 - gates)
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
    shift = (weights * (scores - fixed)).sum(1, keepdim=True)
    return torch.sigmoid((scores - threshold - shift) / temperature)


def initial_networks(features: CutFeatures, fills: Sequence[Tensor]) -> list[AttentionNetwork]:
    """Untrained: scores are log(energy x sensitivity^1/2)."""
    networks = []
    sensitivities = sensitivity(features.some(_SENSITIVITY_IMAGES))
    for number, (values, fill) in enumerate(zip(features.tensors, fills, strict=True)):
        others = [axis for axis in range(values.dim()) if axis != features.axes[number]]
        scale = (values - features.along(fill, number)).square().mean(others).sqrt()
        scale = scale.clamp_min(1e-3 * float(scale.mean()) + 1e-12)
        weight = sensitivities[number].clamp_min(1e-6 * float(sensitivities[number].mean()) + 1e-30)
        bias = scale.square().log() + weight.log() / 2
        networks.append(AttentionNetwork(fill, scale, bias - bias.mean(), features.axes[number]))
    return networks


def sensitivity(features: CutFeatures) -> list[Tensor]:
    """Mean squared derivative of log p(class) by a value of each channel, [C] per tensor.

    Classes are drawn from the full network's answer: the diagonal of the Fisher information, which is the
    divergence's curvature (Theis et al. 2018, arXiv 1801.05787).
    """
    totals = [torch.zeros(channels) for channels in features.channels]
    for tensors, reference in features.batches():
        inputs = [tensor.detach().clone().requires_grad_(True) for tensor in tensors]
        drawn = torch.multinomial(reference.softmax(-1), 1)
        chosen = features.tail(inputs).log_softmax(-1).gather(-1, drawn)
        for number, gradient in enumerate(torch.autograd.grad(chosen.sum(), inputs)):
            rows = gradient.movedim(features.axes[number], 0).flatten(1)
            totals[number] += rows.square().mean(1) * len(reference) / len(features)
    return totals
