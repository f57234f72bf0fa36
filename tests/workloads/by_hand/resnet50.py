"""ResNet-50 v1.5: He et al., "Deep Residual Learning" (arXiv 1512.03385), stride in the 3x3 convolution.

Structure and layer names follow torchvision's `resnet50`. A block is one bottleneck; inside it the shortcut
crosses together with the branch. Batch norm and ReLU are merged into their convolution, the last ReLU into
the addition.
"""

from __future__ import annotations

from dvfo_env.workloads.graph import Graph, PublishedFigure
from tests.workloads.builder import GraphBuilder

_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
_TORCHVISION = "pytorch/vision, torchvision/models/resnet.py, ResNet50_Weights"


def resnet50() -> Graph:
    """ResNet-50 for 224 x 224 images and 1000 classes."""
    net = GraphBuilder((3, 224, 224))
    x = net.conv("conv1", net.input_name, 64, 7, stride=2, padding=3)
    x = net.end_block("maxpool", net.max_pool("maxpool", x, 3, stride=2, padding=1))
    for stage, (width, blocks, first_stride) in enumerate(_STAGES, start=1):
        for block in range(blocks):
            x = _bottleneck(
                net, f"layer{stage}.{block}", x, width, first_stride if block == 0 else 1, block == 0
            )
    x = net.end_block("avgpool", net.global_pool("avgpool", x))
    x = net.end_block("fc", net.linear("fc", x, 1000))
    return net.graph(
        name="resnet50",
        title="ResNet-50 v1.5 (224 x 224, 1000 classes)",
        source="He et al. 2015, arXiv 1512.03385, table 1; stride placement and names as in pytorch/vision",
        outputs=(x,),
        answer_bytes=4000,
        answer_note="assumed: all 1000 class scores in fp32",
        published=(
            PublishedFigure("gmac", "4.089", _TORCHVISION + " (_ops)"),
            PublishedFigure("parameters", "25557032", _TORCHVISION + " (num_params)"),
        ),
    )


def _bottleneck(net: GraphBuilder, name: str, x: str, width: int, stride: int, project: bool) -> str:
    """1x1 - 3x3 - 1x1 with a shortcut, projected by a strided 1x1 where the shape changes."""
    branch = net.conv(f"{name}.conv1", x, width, 1)
    branch = net.conv(f"{name}.conv2", branch, width, 3, stride=stride, padding=1)
    branch = net.conv(f"{name}.conv3", branch, 4 * width, 1)
    if project:
        x = net.conv(f"{name}.downsample", x, 4 * width, 1, stride=stride)
    return net.end_block(name, net.add(f"{name}.add", branch, x))
