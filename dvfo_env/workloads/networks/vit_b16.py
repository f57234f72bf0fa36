"""ViT-B/16, state-dict keys as in torchvision's `vit_b_16`.

Dosovitskiy et al. 2020, arXiv 2010.11929, table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTH, _HEADS, _LAYERS, _PATCH, _IMAGE = 768, 12, 12, 16, 224


class EncoderBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each after a layer norm and with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(_WIDTH, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(_WIDTH, _HEADS, batch_first=True)
        self.ln_2 = nn.LayerNorm(_WIDTH, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(_WIDTH, 4 * _WIDTH),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(4 * _WIDTH, _WIDTH),
            nn.Dropout(0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same shape."""
        normed = self.ln_1(x)
        attended, _ = self.self_attention(normed, normed, normed, need_weights=False)
        x = attended + x
        expanded: Tensor = self.mlp(self.ln_2(x))
        return x + expanded


class Encoder(nn.Module):
    """Position embedding, the blocks, a last layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(
            torch.empty(1, (_IMAGE // _PATCH) ** 2 + 1, _WIDTH).normal_(std=0.02)
        )
        self.layers = nn.Sequential()
        for number in range(_LAYERS):
            self.layers.add_module(f"encoder_layer_{number}", EncoderBlock())
        self.ln = nn.LayerNorm(_WIDTH, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same shape."""
        encoded: Tensor = self.ln(self.layers(x + self.pos_embedding))
        return encoded


class VisionTransformer(nn.Module):
    """16 x 16 patches and a class token through the encoder; one linear layer on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, _WIDTH, _PATCH, _PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.encoder = Encoder()
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(_WIDTH, 1000))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 224, 224] -> [batch, 1000]."""
        tokens = self.conv_proj(x).flatten(2).permute(0, 2, 1)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1)
        scores: Tensor = self.heads(self.encoder(tokens)[:, 0])
        return scores


def vit_b16() -> nn.Module:
    """ViT-B/16 for 224 x 224 images."""
    return VisionTransformer()
