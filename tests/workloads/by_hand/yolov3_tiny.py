"""YOLOv3-tiny: cfg/yolov3-tiny.cfg of pjreddie/darknet (Redmon and Farhadi, arXiv 1804.02767) for COCO.

Layer names are the kind and darknet's layer number. The two `yolo` layers (16, 23) decode boxes elementwise
and are merged into the convolution before; `route` 17 is a second name for layer 13. Layer 8 is read again by
`route_20`, so from there on two tensors cross. A block is one convolution, together with the pooling that
follows it where one does.
"""

from __future__ import annotations

from dvfo_env.workloads.graph import Graph, PublishedFigure
from tests.workloads.builder import GraphBuilder


def yolov3_tiny() -> Graph:
    """YOLOv3-tiny for 416 x 416 images: 3 anchors x (80 classes + 5) = 255 channels at two scales."""
    net = GraphBuilder((3, 416, 416))
    x = net.input_name
    for layer, channels in ((0, 16), (2, 32), (4, 64), (6, 128)):
        x = net.conv(f"conv_{layer}", x, channels, 3)
        x = net.end_block(f"pool_{layer + 1}", net.max_pool(f"pool_{layer + 1}", x, 2, stride=2))
    fine = net.end_block("conv_8", net.conv("conv_8", x, 256, 3))
    x = net.end_block("pool_9", net.max_pool("pool_9", fine, 2, stride=2))
    x = net.conv("conv_10", x, 512, 3)
    x = net.end_block("pool_11", net.max_pool("pool_11", x, 2, stride=1, padding="same"))
    x = net.end_block("conv_12", net.conv("conv_12", x, 1024, 3))
    coarse = net.end_block("conv_13", net.conv("conv_13", x, 256, 1))
    x = net.end_block("conv_14", net.conv("conv_14", coarse, 512, 3))
    boxes_coarse = net.end_block("conv_15", net.conv("conv_15", x, 255, 1, batch_norm=False))
    x = net.end_block("conv_18", net.conv("conv_18", coarse, 128, 1))
    x = net.upsample("upsample_19", x, 2)
    x = net.end_block("route_20", net.concat("route_20", x, fine))
    x = net.end_block("conv_21", net.conv("conv_21", x, 256, 3))
    boxes_fine = net.end_block("conv_22", net.conv("conv_22", x, 255, 1, batch_norm=False))
    return net.graph(
        name="yolov3-tiny",
        title="YOLOv3-tiny (416 x 416, COCO)",
        source="pjreddie/darknet, cfg/yolov3-tiny.cfg; Redmon and Farhadi 2018, arXiv 1804.02767",
        outputs=(boxes_coarse, boxes_fine),
        answer_bytes=2400,
        answer_note="assumed: at most 100 boxes (the COCO limit) of 4 corners, score and class in fp32",
        published=(
            PublishedFigure(
                "gflop",
                "5.571",
                "AlexeyAB/darknet, 'Total BFLOPS' printed at start-up",
                "counts pooling, too: 4 for each of 1.43 M outputs",
                also_counts=0.0057,
            ),
            PublishedFigure(
                "parameters_and_statistics",
                "8858734",
                "pjreddie/darknet, yolov3-tiny.weights: (35,434,956 - 20) bytes / 4",
            ),
        ),
    )
