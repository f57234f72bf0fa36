"""The four networks are the published ones: FLOPs, parameters and feature shapes."""

from __future__ import annotations

import pytest

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.graph import Graph, PublishedFigure
from dvfo_env.workloads.tracing import catalogue_graph
from tests.workloads.builder import GraphBuilder
from tests.workloads.by_hand import GRAPHS


@pytest.fixture(params=sorted(GRAPHS))
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]()


@pytest.mark.parametrize(
    ("name", "gmac", "parameters"),
    [
        # pytorch/vision, _ops and num_params of VGG19_Weights and ResNet50_Weights
        ("vgg19", 19.632, 143_667_240),
        ("resnet50", 4.089, 25_557_032),
        # 42,679,816 with 1000 classes (timm: 42.68 M); the 1001st adds 1536 weights and a bias
        ("inception-v4", 12.254, 42_679_816 + 1537),
        # sum of the BFLOPs that darknet prints for the convolutions, two per multiply-accumulate
        ("yolov3-tiny", 5.565 / 2, 8_852_366),
    ],
)
def test_multiply_accumulates_and_parameters_are_the_published_ones(
    name: str, gmac: float, parameters: int
) -> None:
    graph = GRAPHS[name]()
    assert graph.quantity("gmac") == pytest.approx(gmac, rel=3e-4)
    assert graph.parameters == parameters


def test_every_figure_cited_in_a_graph_is_met_to_its_last_digit(graph: Graph) -> None:
    assert graph.published
    for figure in graph.published:
        gap = graph.quantity(figure.quantity) + figure.also_counts - figure.value
        assert abs(gap) <= figure.last_digit / 2, figure


@pytest.mark.parametrize(
    ("printed", "value", "last_digit"),
    [
        ("2.4195", 2.4195, 1e-4),
        ("18.9e6", 18_900_000, 1e5),
        ("12.28", 12.28, 0.01),
        ("8858734", 8_858_734, 1),
    ],
)
def test_a_published_figure_is_as_sharp_as_its_last_digit(
    printed: str, value: float, last_digit: float
) -> None:
    figure = PublishedFigure("gflop", printed, "somewhere")
    assert figure.value == value
    assert figure.last_digit == pytest.approx(last_digit)


def test_yolov3_tiny_has_as_many_numbers_as_its_weight_file() -> None:
    weight_file_bytes, header_bytes = 35_434_956, 20
    numbers = (weight_file_bytes - header_bytes) / 4
    assert GRAPHS["yolov3-tiny"]().quantity("parameters_and_statistics") == numbers


def test_the_gap_of_inception_v4_to_timm_is_its_batch_norm() -> None:
    # timm lists 12.28 GMAC and 15.09 M activations; its counter takes 2 operations an output for batch norm
    graph = GRAPHS["inception-v4"]()
    activations = sum(operation.elements for operation in graph.operations if operation.kind == "conv")
    assert activations == pytest.approx(15.09e6, rel=1e-3)
    assert 2 * activations / 1e9 == pytest.approx(graph.published[0].also_counts, abs=5e-4)


def test_the_gap_of_yolov3_tiny_to_darknet_is_its_pooling() -> None:
    # make_maxpool_layer in AlexeyAB/darknet, src/maxpool_layer.c: bflops = size * size * outputs / 1e9
    graph = GRAPHS["yolov3-tiny"]()
    pooled = sum(operation.elements for operation in graph.operations if operation.kind == "max_pool")
    assert 2 * 2 * pooled / 1e9 == pytest.approx(graph.published[0].also_counts, abs=5e-5)


def test_the_gap_of_quartznet_to_the_open_model_zoo_is_all_that_is_no_product() -> None:
    # "GFLOPs 2.4195": openvinotoolkit/model_analyzer (layer_provider.py) counts convolutions as
    # we do, and ReLU 2 an output (compare, multiply), Add 1 (a bias, or two branches), LogSoftmax 6.
    graph = catalogue_graph("quartznet-15x5")
    outputs = {operation.name: operation.elements for operation in graph.operations}
    added = sum(operation.elements for operation in graph.operations if operation.kind == "add")
    symbols = outputs.pop("c4")
    full = sum(
        n for name, n in outputs.items() if name.endswith(("pointwise", "conv"))
    )  # batch norm is a bias by then
    shortcuts = sum(n for name, n in outputs.items() if "shortcut" in name)  # no ReLU of their own
    also = 2 * (full - shortcuts) + (full + symbols) + added + 6 * symbols
    assert also == 4_161_536 + 2_475_840 + 393_216 + 11_136
    assert graph.flops + also == 2_419_462_848
    assert also / 1e9 == pytest.approx(graph.published[0].also_counts, abs=5e-7)


@pytest.mark.parametrize(
    ("name", "tensor", "shape"),
    [
        ("vgg19", "pool3", (256, 28, 28)),
        ("vgg19", "pool4", (512, 14, 14)),
        ("vgg19", "pool5", (512, 7, 7)),
        ("resnet50", "maxpool", (64, 56, 56)),
        ("resnet50", "layer1.2.add", (256, 56, 56)),
        ("resnet50", "layer2.3.add", (512, 28, 28)),
        ("resnet50", "layer3.5.add", (1024, 14, 14)),
        ("resnet50", "layer4.2.add", (2048, 7, 7)),
        # arXiv 1602.07261, figure 9 and figure 3
        ("inception-v4", "Mixed_3a/concat", (160, 73, 73)),
        ("inception-v4", "Mixed_4a/concat", (192, 71, 71)),
        ("inception-v4", "Mixed_5a/concat", (384, 35, 35)),
        ("inception-v4", "Mixed_5e/concat", (384, 35, 35)),
        ("inception-v4", "Mixed_6a/concat", (1024, 17, 17)),
        ("inception-v4", "Mixed_6h/concat", (1024, 17, 17)),
        ("inception-v4", "Mixed_7a/concat", (1536, 8, 8)),
        ("inception-v4", "Mixed_7d/concat", (1536, 8, 8)),
        ("inception-v4", "Logits/Logits", (1001,)),
        ("yolov3-tiny", "pool_11", (512, 13, 13)),
        ("yolov3-tiny", "conv_15", (255, 13, 13)),
        ("yolov3-tiny", "route_20", (384, 26, 26)),
        ("yolov3-tiny", "conv_22", (255, 26, 26)),
    ],
)
def test_feature_maps_have_the_published_shape(name: str, tensor: str, shape: tuple[int, ...]) -> None:
    assert GRAPHS[name]().shapes[tensor] == shape


def test_every_tensor_but_the_answer_is_read_by_a_later_operation(graph: Graph) -> None:
    read = {tensor for operation in graph.operations for tensor in operation.inputs}
    assert {operation.name for operation in graph.operations} - read == set(graph.outputs)


def test_resnet18_written_with_the_builder_matches_torchvision() -> None:
    net = GraphBuilder((3, 224, 224))
    x = net.max_pool(
        "pool", net.conv("conv1", net.input_name, 64, 7, stride=2, padding=3), 3, stride=2, padding=1
    )
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            branch = net.conv(f"{stage}.{block}.a", x, width, 3, stride=stride, padding=1)
            branch = net.conv(f"{stage}.{block}.b", branch, width, 3, padding=1)
            shortcut = net.conv(f"{stage}.{block}.c", x, width, 1, stride=stride) if stride == 2 else x
            x = net.add(f"{stage}.{block}", branch, shortcut)
    x = net.linear("fc", net.global_pool("avg", x), 1000)
    graph = net.graph(
        name="resnet18", title="", source="", outputs=(x,), answer_bytes=4000, answer_note="all scores"
    )
    assert graph.parameters == 11_689_512
    assert graph.quantity("gmac") == pytest.approx(1.814, abs=5e-4)
    elements = [
        operation.elements for operation in graph.operations if operation.name in ("0.1", "1.1", "2.1", "3.1")
    ]
    assert elements == [200_704, 100_352, 50_176, 25_088]


def test_a_convolution_counts_what_its_formula_says() -> None:
    net = GraphBuilder((8, 10, 10))
    net.conv("dense", net.input_name, 16, 3)
    net.conv("depthwise", "dense", 16, 3, stride=2, groups=16, batch_norm=False)
    dense, depthwise = net.graph(
        name="n", title="", source="", outputs=("depthwise",), answer_bytes=0, answer_note=""
    ).operations
    weights = 3 * 3 * 8 * 16
    assert dense.flops == 2 * weights * 100
    assert (dense.parameters, dense.weight_elements, dense.running_statistics) == (
        weights + 32,
        weights + 16,
        32,
    )
    assert dense.traffic_bytes(4) == 4 * (800 + weights + 16 + 1600)
    assert dense.traffic_bytes(2) * 2 == dense.traffic_bytes(4)
    assert dense.weight_bytes(4) == 4 * (weights + 16)
    assert depthwise.shape == (16, 5, 5)
    assert depthwise.flops == 2 * 9 * 16 * 25


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda net: net.conv("c", "nowhere", 8, 3), "no earlier operation makes"),
        (lambda net: net.conv("image", "image", 8, 3), "two operations have this name"),
        (lambda net: net.conv("c", "image", 8, 3, groups=2), "do not divide into 2 groups"),
        (lambda net: net.conv("c", "image", 8, 9, padding="valid"), "does not fit into 6x6"),
        (lambda net: net.conv("c", "image", 8, 3, padding="full"), "'full' is not 'same', 'valid'"),
        (lambda net: net.add("a", "image", net.max_pool("p", "image", 2, stride=2)), "cannot add"),
        (lambda net: net.concat("a", "image", net.max_pool("p", "image", 2, stride=2)), "cannot join"),
        (lambda net: net.global_pool("g", net.linear("l", "image", 5)), "needs (channels, height, width)"),
        (lambda net: net.end_block("b", "image"), "a block ends at an operation"),
        (lambda net: [net.end_block("b", net.max_pool(n, "image", 2)) for n in "xy"], "exists already"),
    ],
)
def test_a_network_that_does_not_fit_together_is_refused_by_name(write: object, message: str) -> None:
    net = GraphBuilder((3, 6, 6))
    with pytest.raises(ConfigError) as error:
        write(net)  # type: ignore[operator]
    assert message in str(error.value)
