"""What is known about each network of the catalogue, beside its definition.

Published figures are repeated in the cards and checked by tests; each has its source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dvfo_env.workloads.graph import PublishedFigure, Shape


def _same(layer: str) -> str:
    return layer


@dataclass(frozen=True)
class Network:
    """One network of the catalogue.

    Attributes:
        name: as in files and on the command line.
        title, source: what a reader calls it, and where its definition is published.
        definition: module in this folder and function in it, as `module:function`.
        input_shape: without the batch dimension.
        blocks: pattern -> name of the block that ends with a matching layer (`re` groups may be used).
        answer_bytes, answer_note: what a server sends back, and the assumption behind it.
        published: figures to check the counts against.
        layer: from the path of a layer in the module to the name in the card.
        input_name: what the input is called in cuts.
    """

    name: str
    title: str
    source: str
    definition: str
    input_shape: Shape
    blocks: dict[str, str]
    answer_bytes: int
    answer_note: str
    published: tuple[PublishedFigure, ...]
    layer: Callable[[str], str] = _same
    input_name: str = "image"

    def block_of(self, layer: str) -> str | None:
        """Name of the block that ends with a layer, None where none does."""
        for pattern, block in self.blocks.items():
            match = re.fullmatch(pattern, layer)
            if match:
                return match.expand(block)
        return None


_SCORES = 4000, "assumed: all 1000 class scores in fp32"
_VISION = "pytorch/vision, torchvision/models/"
_TIMM = (
    "huggingface/pytorch-image-models, results/benchmark-infer-amp-nchw-pt110-cu113-rtx3090.csv, inception_v4"
)
_TIMM_LITE0 = _TIMM.replace("inception_v4", "efficientnet_lite0")
_OMZ = "openvinotoolkit/open_model_zoo, models/public/quartznet-15x5-en/README.md"


def _torchvision(file: str, weights: str, gmac: str, parameters: int) -> tuple[PublishedFigure, ...]:
    source = f"{_VISION}{file}, {weights}"
    return (
        PublishedFigure("gmac", gmac, f"{source} (_ops)"),
        PublishedFigure("parameters", str(parameters), f"{source} (num_params)"),
    )


def _resnet_layer(layer: str) -> str:
    return layer.replace(".downsample.0", ".downsample")


_RESNET_BLOCKS = {"maxpool|avgpool|fc": r"\g<0>", r"(layer\d\.\d+)\.add": r"\1"}


def _resnet(depth: int, gmac: str, parameters: int, weights: str = "IMAGENET1K_V1") -> Network:
    version = " v1.5" if depth >= 50 else ""
    return Network(
        name=f"resnet{depth}",
        title=f"ResNet-{depth}{version} (224 x 224, 1000 classes)",
        source="He et al. 2015, arXiv 1512.03385, table 1; "
        + ("stride placement and names" if version else "names")
        + " as in pytorch/vision",
        definition=f"resnet:resnet{depth}",
        input_shape=(3, 224, 224),
        blocks=_RESNET_BLOCKS,
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=_torchvision("resnet.py", f"ResNet{depth}_Weights", gmac, parameters),
        layer=_resnet_layer,
    )


def _vgg_layers(convolutions: tuple[int, ...]) -> Callable[[str], str]:
    """Names of the authors' Caffe release for positions in `features` and `classifier`."""
    names = {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}
    position = 0
    for stage, count in enumerate(convolutions, start=1):
        for number in range(1, count + 1):
            names[f"features.{position}"] = f"conv{stage}_{number}"
            position += 2
        names[f"features.{position}"] = f"pool{stage}"
        position += 1
    return lambda layer: names.get(layer, layer)


def _vgg(depth: int, configuration: str, convolutions: tuple[int, ...], gmac: str, count: int) -> Network:
    inner = "|".join(
        f"conv{stage}_{number}"
        for stage, last in enumerate(convolutions, start=1)
        for number in range(1, last)
    )
    return Network(
        name=f"vgg{depth}",
        title=f"VGG-{depth} (224 x 224, 1000 classes)",
        source=f"Simonyan and Zisserman 2014, arXiv 1409.1556, table 1, configuration {configuration}",
        definition=f"vgg:vgg{depth}",
        input_shape=(3, 224, 224),
        blocks={rf"{inner}|pool\d|fc\d": r"\g<0>"},
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=_torchvision("vgg.py", f"VGG{depth}_Weights.IMAGENET1K_V1", gmac, count),
        layer=_vgg_layers(convolutions),
    )


def _scope(layer: str) -> str:
    """TF-slim's scope of a layer of Inception-v4."""
    return layer.removesuffix(".conv").replace(".", "/")


_INCEPTION_V4_BLOCKS = {
    "Conv2d_1a_3x3": "stem_conv_1",
    "Conv2d_2a_3x3": "stem_conv_2",
    "Conv2d_2b_3x3": "stem_conv_3",
    "Mixed_3a/concat": "stem_mixed_1",
    "Mixed_4a/concat": "stem_mixed_2",
    "Mixed_5a/concat": "stem_mixed_3",
    **{f"Mixed_5{scope}/concat": f"inception_a_{i}" for i, scope in enumerate("bcde", start=1)},
    "Mixed_6a/concat": "reduction_a",
    **{f"Mixed_6{scope}/concat": f"inception_b_{i}" for i, scope in enumerate("bcdefgh", start=1)},
    "Mixed_7a/concat": "reduction_b",
    **{f"Mixed_7{scope}/concat": f"inception_c_{i}" for i, scope in enumerate("bcd", start=1)},
    "Logits/AvgPool_1a": "pool",
    "Logits/Logits": "fc",
}


def _bare(layer: str) -> str:
    return layer.removesuffix(".conv")


def _demo(family: str, blocks: dict[str, str], parameters: int, sum_by_hand: str) -> Network:
    return Network(
        name=f"demo-{family.lower()}",
        title=f"Demo {family} (28 x 28, 10 classes)",
        source=f"own: small, in the manner of {family}, for Fashion-MNIST",
        definition=f"demo:demo_{family.lower()}",
        input_shape=(1, 28, 28),
        blocks=blocks,
        answer_bytes=40,
        answer_note="assumed: all 10 class scores in fp32",
        published=(PublishedFigure("parameters", str(parameters), f"summed by hand: {sum_by_hand}"),),
        layer=lambda layer: layer.removesuffix(".0"),  # its place before batch norm and activation
    )


def _yolo_layer(layer: str) -> str:
    return "route_20" if layer == "concat" else _bare(layer)


_NETWORKS = (
    Network(
        name="mobilenet-v2",
        title="MobileNetV2 (224 x 224, 1000 classes)",
        source="Sandler et al. 2018, arXiv 1801.04381, table 2; names as in pytorch/vision",
        definition="mobilenet_v2:mobilenet_v2",
        input_shape=(3, 224, 224),
        blocks={
            r"(features\.\d+)\.(conv\.[12]|add)": r"\1",
            r"features\.(0|18)\.0": r"features.\1",
            "avgpool": "avgpool",
            r"classifier\.1": "classifier",
        },
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=_torchvision("mobilenetv2.py", "MobileNet_V2_Weights", "0.301", 3_504_872),
    ),
    Network(
        name="efficientnet-b0",
        title="EfficientNet-B0 (224 x 224, 1000 classes)",
        source="Tan and Le 2019, arXiv 1905.11946, table 1; names as in pytorch/vision",
        definition="efficientnet_b0:efficientnet_b0",
        input_shape=(3, 224, 224),
        blocks={
            r"(features\.\d+\.\d+)\.(block\.[23]\.0|add)": r"\1",
            r"features\.(0|8)\.0": r"features.\1",
            "avgpool": "avgpool",
            r"classifier\.1": "classifier",
        },
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=_torchvision(
            "efficientnet.py", "EfficientNet_B0_Weights.IMAGENET1K_V1", "0.386", 5_288_548
        ),
    ),
    Network(
        name="efficientnet-lite0",
        title="EfficientNet-Lite0 (224 x 224, 1000 classes)",
        source="Tan and Le 2019, arXiv 1905.11946, table 1, without squeeze and excitation: tensorflow/tpu, "
        "models/official/efficientnet/lite",
        definition="efficientnet_lite0:efficientnet_lite0",
        input_shape=(3, 224, 224),
        blocks={
            r"(blocks\.\d+)\.(project_conv|add)": r"\1",
            "conv_stem": "stem",
            "conv_head": "head",
            "avg_pooling": "avgpool",
            "fc": "fc",
        },
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=(
            PublishedFigure(
                "gmac",
                "0.40",
                _TIMM_LITE0,
                "counts batch norm, too: 2 x 6.74 M outputs",
                also_counts=2 * 6.74e6 / 1e9,
            ),
            PublishedFigure("parameters", "4.65e6", _TIMM_LITE0),
        ),
        layer=lambda layer: layer.removeprefix("_").replace("._", "."),
    ),
    _resnet(18, "1.814", 11_689_512),
    _resnet(50, "4.089", 25_557_032),
    _resnet(152, "11.514", 60_192_808),
    _vgg(16, "D", (2, 2, 3, 3, 3), "15.47", 138_357_544),
    _vgg(19, "E", (2, 2, 4, 4, 4), "19.632", 143_667_240),
    Network(
        name="inception-v3",
        title="Inception-v3 (299 x 299, 1000 classes)",
        source="Szegedy et al. 2015, arXiv 1512.00567, table 1; names as in pytorch/vision",
        definition="inception_v3:inception_v3",
        input_shape=(3, 299, 299),
        blocks={
            r"(Mixed_\d[a-e])\.concat(_3)?": r"\1",
            r"Conv2d_[123][ab]_[13]x[13]|maxpool[12]|avgpool|fc": r"\g<0>",
        },
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=(
            PublishedFigure("gmac", "5.713", f"{_VISION}inception.py, Inception_V3_Weights (_ops)"),
            PublishedFigure(
                "parameters",
                str(27_161_264 - 3_326_696),
                f"{_VISION}inception.py, Inception_V3_Weights (num_params)",
                "without the 3,326,696 of the auxiliary head, which inference does not run",
            ),
        ),
        layer=_bare,
    ),
    Network(
        name="inception-v4",
        title="Inception-v4 (299 x 299, 1001 classes)",
        source="Szegedy et al. 2016, arXiv 1602.07261, figures 3-9; names as in tensorflow/models, slim",
        definition="inception_v4:inception_v4",
        input_shape=(3, 299, 299),
        blocks=_INCEPTION_V4_BLOCKS,
        answer_bytes=4004,
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
        layer=_scope,
    ),
    Network(
        name="vit-b16",
        title="ViT-B/16 (224 x 224, 1000 classes)",
        source="Dosovitskiy et al. 2020, arXiv 2010.11929, table 1; names as in pytorch/vision",
        definition="vit_b16:vit_b16",
        input_shape=(3, 224, 224),
        blocks={
            r"(encoder\.layers\.encoder_layer_\d+)\.add_2": r"\1",
            "conv_proj": "conv_proj",
            r"encoder\.add": "encoder.embedding",
            r"encoder\.ln": "encoder.ln",
            r"heads\.head": "heads",
        },
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=_torchvision(
            "vision_transformer.py", "ViT_B_16_Weights.IMAGENET1K_V1", "17.564", 86_567_656
        ),
    ),
    Network(
        name="squeezenet",
        title="SqueezeNet 1.1 (224 x 224, 1000 classes)",
        source="Iandola et al. 2016, arXiv 1602.07360; version 1.1 and names as in pytorch/vision",
        definition="squeezenet:squeezenet",
        input_shape=(3, 224, 224),
        blocks={
            r"(features\.\d+)\.concat": r"\1",
            r"features\.\d+|classifier\.\d": r"\g<0>",
        },
        answer_bytes=_SCORES[0],
        answer_note=_SCORES[1],
        published=_torchvision("squeezenet.py", "SqueezeNet1_1_Weights", "0.349", 1_235_496),
    ),
    Network(
        name="yolov3-tiny",
        title="YOLOv3-tiny (416 x 416, COCO)",
        source="pjreddie/darknet, cfg/yolov3-tiny.cfg; Redmon and Farhadi 2018, arXiv 1804.02767",
        definition="yolov3_tiny:yolov3_tiny",
        input_shape=(3, 416, 416),
        blocks={r"pool_\d+|route_20|conv_(8|12|13|14|15|18|21|22)": r"\g<0>"},
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
        layer=_yolo_layer,
    ),
    Network(
        name="quartznet-15x5",
        title="QuartzNet-15x5, speech to characters (1.28 s)",
        source="Kriman et al. 2019, arXiv 1910.10261, table 1; input as in open_model_zoo, quartznet-15x5-en",
        definition="quartznet_15x5:quartznet_15x5",
        input_shape=(64, 128),
        blocks={
            r"(blocks\.\d+)\.add": r"\1",
            r"(c1|c2)\.pointwise": r"\1",
            r"c3\.conv": "c3",
            "c4": "c4",
        },
        answer_bytes=7424,
        answer_note="assumed: 64 steps of 29 log-probabilities in fp32",
        published=(
            PublishedFigure(
                "gflop",
                "2.4195",
                _OMZ,
                "counts ReLU (2 an output), bias and addition (1), log-softmax (6), too, by "
                "openvinotoolkit/model_analyzer, layer_provider.py",
                also_counts=0.007042,
            ),
            PublishedFigure("parameters", "18.9e6", "Kriman et al. 2019, arXiv 1910.10261, table 2"),
        ),
        input_name="features",
    ),
    _demo(
        "VGG",
        {r"features\.\d+|avgpool|classifier": r"\g<0>"},
        137_674,
        "9 (32 + 32^2 + 32x48 + 48^2 + 48x80 + 80^2) + 2 (2x32 + 2x48 + 2x80) + 810",
    ),
    _demo(
        "ResNet",
        {r"(layer\d)\.add": r"\1", "conv1|avgpool|fc": r"\g<0>"},
        77_754,
        "9 (16 + 2x16^2 + 16x32 + 32^2 + 32x64 + 64^2) + 16x32 + 32x64 + 2 (3x16 + 3x32 + 3x64) + 650",
    ),
    _demo(
        "MobileNet",
        {r"(blocks\.\d)\.(project|add)": r"\1", "stem|head|avgpool|classifier": r"\g<0>"},
        41_530,
        "9 (16 + 2x64 + 2x96 + 160) + 3x16x64 + 64x24 + 3x24x96 + 96x40 + 2x40x160 + 40x128 "
        "+ 2 (2x16 + 4x64 + 2x24 + 4x96 + 2x40 + 2x160 + 128) + 1290",
    ),
)

NETWORKS: dict[str, Network] = {network.name: network for network in _NETWORKS}
"""The catalogue, by name."""
