"""Inception-v4: Szegedy et al., "Inception-v4, Inception-ResNet ..." (arXiv 1602.07261), figures 3 to 9.

Layer names are the scopes of TF-slim's `inception_v4` (tensorflow/models), which exported models keep, so
that per-layer timings of such models find their layer by name. 1001 classes as there (class 0 is background).
The auxiliary head is for training only and left out. A block is one module of the paper.
"""

from __future__ import annotations

from dvfo_env.workloads.graph import Graph, PublishedFigure
from tests.workloads.builder import GraphBuilder

_CLASSES = 1001
_TIMM = (
    "huggingface/pytorch-image-models, results/benchmark-infer-amp-nchw-pt110-cu113-rtx3090.csv, inception_v4"
)


def inception_v4() -> Graph:
    """Inception-v4 for 299 x 299 images and 1001 classes."""
    net = GraphBuilder((3, 299, 299))
    x = _stem(net)
    for number, scope in enumerate("bcde", start=1):
        x = net.end_block(f"inception_a_{number}", _inception_a(net, f"Mixed_5{scope}", x))
    x = net.end_block("reduction_a", _reduction_a(net, "Mixed_6a", x))
    for number, scope in enumerate("bcdefgh", start=1):
        x = net.end_block(f"inception_b_{number}", _inception_b(net, f"Mixed_6{scope}", x))
    x = net.end_block("reduction_b", _reduction_b(net, "Mixed_7a", x))
    for number, scope in enumerate("bcd", start=1):
        x = net.end_block(f"inception_c_{number}", _inception_c(net, f"Mixed_7{scope}", x))
    x = net.end_block("pool", net.global_pool("Logits/AvgPool_1a", x))
    x = net.end_block("fc", net.linear("Logits/Logits", x, _CLASSES))
    return net.graph(
        name="inception-v4",
        title="Inception-v4 (299 x 299, 1001 classes)",
        source="Szegedy et al. 2016, arXiv 1602.07261, figures 3-9; names as in tensorflow/models, slim",
        outputs=(x,),
        answer_bytes=4 * _CLASSES,
        answer_note="assumed: all 1001 class scores in fp32",
        published=(
            PublishedFigure(
                "gmac",
                "12.28",
                _TIMM,
                "1000 classes; counts batch norm, too: 2 x 15.09 M outputs",
                also_counts=0.030,
            ),
            PublishedFigure("parameters", "42.68e6", _TIMM, "1000 classes"),
        ),
    )


def _stem(net: GraphBuilder) -> str:
    """Figure 3: 299 x 299 x 3 -> 35 x 35 x 384."""
    x = net.conv("Conv2d_1a_3x3", net.input_name, 32, 3, stride=2, padding="valid")
    net.end_block("stem_conv_1", x)
    x = net.end_block("stem_conv_2", net.conv("Conv2d_2a_3x3", x, 32, 3, padding="valid"))
    x = net.end_block("stem_conv_3", net.conv("Conv2d_2b_3x3", x, 64, 3))
    pooled = net.max_pool("Mixed_3a/Branch_0/MaxPool_0a_3x3", x, 3, stride=2)
    x = net.conv("Mixed_3a/Branch_1/Conv2d_0a_3x3", x, 96, 3, stride=2, padding="valid")
    x = net.end_block("stem_mixed_1", net.concat("Mixed_3a/concat", pooled, x))
    short = net.conv("Mixed_4a/Branch_0/Conv2d_0a_1x1", x, 64, 1)
    short = net.conv("Mixed_4a/Branch_0/Conv2d_1a_3x3", short, 96, 3, padding="valid")
    x = net.conv("Mixed_4a/Branch_1/Conv2d_0a_1x1", x, 64, 1)
    x = net.conv("Mixed_4a/Branch_1/Conv2d_0b_1x7", x, 64, (1, 7))
    x = net.conv("Mixed_4a/Branch_1/Conv2d_0c_7x1", x, 64, (7, 1))
    x = net.conv("Mixed_4a/Branch_1/Conv2d_1a_3x3", x, 96, 3, padding="valid")
    x = net.end_block("stem_mixed_2", net.concat("Mixed_4a/concat", short, x))
    strided = net.conv("Mixed_5a/Branch_0/Conv2d_1a_3x3", x, 192, 3, stride=2, padding="valid")
    pooled = net.max_pool("Mixed_5a/Branch_1/MaxPool_1a_3x3", x, 3, stride=2)
    return net.end_block("stem_mixed_3", net.concat("Mixed_5a/concat", strided, pooled))


def _inception_a(net: GraphBuilder, scope: str, x: str) -> str:
    """Figure 4: 35 x 35 x 384 -> the same."""
    branch_0 = net.conv(f"{scope}/Branch_0/Conv2d_0a_1x1", x, 96, 1)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0a_1x1", x, 64, 1)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0b_3x3", branch_1, 96, 3)
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0a_1x1", x, 64, 1)
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0b_3x3", branch_2, 96, 3)
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0c_3x3", branch_2, 96, 3)
    branch_3 = net.avg_pool(f"{scope}/Branch_3/AvgPool_0a_3x3", x, 3, padding="same")
    branch_3 = net.conv(f"{scope}/Branch_3/Conv2d_0b_1x1", branch_3, 96, 1)
    return net.concat(f"{scope}/concat", branch_0, branch_1, branch_2, branch_3)


def _reduction_a(net: GraphBuilder, scope: str, x: str) -> str:
    """Figure 7 with k, l, m, n of table 1: 35 x 35 x 384 -> 17 x 17 x 1024."""
    branch_0 = net.conv(f"{scope}/Branch_0/Conv2d_1a_3x3", x, 384, 3, stride=2, padding="valid")
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0a_1x1", x, 192, 1)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0b_3x3", branch_1, 224, 3)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_1a_3x3", branch_1, 256, 3, stride=2, padding="valid")
    branch_2 = net.max_pool(f"{scope}/Branch_2/MaxPool_1a_3x3", x, 3, stride=2)
    return net.concat(f"{scope}/concat", branch_0, branch_1, branch_2)


def _inception_b(net: GraphBuilder, scope: str, x: str) -> str:
    """Figure 5: 17 x 17 x 1024 -> the same."""
    branch_0 = net.conv(f"{scope}/Branch_0/Conv2d_0a_1x1", x, 384, 1)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0a_1x1", x, 192, 1)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0b_1x7", branch_1, 224, (1, 7))
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0c_7x1", branch_1, 256, (7, 1))
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0a_1x1", x, 192, 1)
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0b_7x1", branch_2, 192, (7, 1))
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0c_1x7", branch_2, 224, (1, 7))
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0d_7x1", branch_2, 224, (7, 1))
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0e_1x7", branch_2, 256, (1, 7))
    branch_3 = net.avg_pool(f"{scope}/Branch_3/AvgPool_0a_3x3", x, 3, padding="same")
    branch_3 = net.conv(f"{scope}/Branch_3/Conv2d_0b_1x1", branch_3, 128, 1)
    return net.concat(f"{scope}/concat", branch_0, branch_1, branch_2, branch_3)


def _reduction_b(net: GraphBuilder, scope: str, x: str) -> str:
    """Figure 8: 17 x 17 x 1024 -> 8 x 8 x 1536."""
    branch_0 = net.conv(f"{scope}/Branch_0/Conv2d_0a_1x1", x, 192, 1)
    branch_0 = net.conv(f"{scope}/Branch_0/Conv2d_1a_3x3", branch_0, 192, 3, stride=2, padding="valid")
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0a_1x1", x, 256, 1)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0b_1x7", branch_1, 256, (1, 7))
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0c_7x1", branch_1, 320, (7, 1))
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_1a_3x3", branch_1, 320, 3, stride=2, padding="valid")
    branch_2 = net.max_pool(f"{scope}/Branch_2/MaxPool_1a_3x3", x, 3, stride=2)
    return net.concat(f"{scope}/concat", branch_0, branch_1, branch_2)


def _inception_c(net: GraphBuilder, scope: str, x: str) -> str:
    """Figure 6: 8 x 8 x 1536 -> the same."""
    branch_0 = net.conv(f"{scope}/Branch_0/Conv2d_0a_1x1", x, 256, 1)
    branch_1 = net.conv(f"{scope}/Branch_1/Conv2d_0a_1x1", x, 384, 1)
    wide = net.conv(f"{scope}/Branch_1/Conv2d_0b_1x3", branch_1, 256, (1, 3))
    tall = net.conv(f"{scope}/Branch_1/Conv2d_0c_3x1", branch_1, 256, (3, 1))
    branch_1 = net.concat(f"{scope}/Branch_1/concat", wide, tall)
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0a_1x1", x, 384, 1)
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0b_3x1", branch_2, 448, (3, 1))
    branch_2 = net.conv(f"{scope}/Branch_2/Conv2d_0c_1x3", branch_2, 512, (1, 3))
    wide = net.conv(f"{scope}/Branch_2/Conv2d_0d_1x3", branch_2, 256, (1, 3))
    tall = net.conv(f"{scope}/Branch_2/Conv2d_0e_3x1", branch_2, 256, (3, 1))
    branch_2 = net.concat(f"{scope}/Branch_2/concat", wide, tall)
    branch_3 = net.avg_pool(f"{scope}/Branch_3/AvgPool_0a_3x3", x, 3, padding="same")
    branch_3 = net.conv(f"{scope}/Branch_3/Conv2d_0b_1x1", branch_3, 256, 1)
    return net.concat(f"{scope}/concat", branch_0, branch_1, branch_2, branch_3)
