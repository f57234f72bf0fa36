"""VGG-19: Simonyan and Zisserman, "Very Deep Convolutional Networks" (arXiv 1409.1556), configuration E.

Layer names are those of the authors' Caffe release. A chain: exactly one tensor crosses everywhere. A block
is one convolution, together with the pooling that follows it where one does.
"""

from __future__ import annotations

from dvfo_env.workloads.graph import Graph, PublishedFigure
from tests.workloads.builder import GraphBuilder

_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
_TORCHVISION = "pytorch/vision, torchvision/models/vgg.py, VGG19_Weights.IMAGENET1K_V1"


def vgg19() -> Graph:
    """VGG-19 for 224 x 224 images and 1000 classes."""
    net = GraphBuilder((3, 224, 224))
    x = net.input_name
    for stage, (channels, convolutions) in enumerate(_STAGES, start=1):
        for number in range(1, convolutions + 1):
            x = net.conv(f"conv{stage}_{number}", x, channels, 3, padding=1, batch_norm=False)
            if number < convolutions:
                net.end_block(x, x)
        x = net.max_pool(f"pool{stage}", x, 2, stride=2)
        net.end_block(x, x)
    for name, features in (("fc6", 4096), ("fc7", 4096), ("fc8", 1000)):
        x = net.linear(name, x, features)
        net.end_block(name, x)
    return net.graph(
        name="vgg19",
        title="VGG-19 (224 x 224, 1000 classes)",
        source="Simonyan and Zisserman 2014, arXiv 1409.1556, table 1, configuration E",
        outputs=(x,),
        answer_bytes=4000,
        answer_note="assumed: all 1000 class scores in fp32",
        published=(
            PublishedFigure("gmac", "19.632", _TORCHVISION + " (_ops)"),
            PublishedFigure("parameters", "143667240", _TORCHVISION + " (num_params)"),
        ),
    )
