"""The shipped cards are what the graphs say, and a card that contradicts itself is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import dvfo_env.workloads as workloads
from dvfo_env.errors import ConfigError
from dvfo_env.schema import parse_record
from dvfo_env.workloads import WorkloadCard, cuts_table, list_workloads, load_workload, segment_of
from dvfo_env.workloads.build import build_card, write_all, write_card
from dvfo_env.workloads.graph import Graph
from dvfo_env.workloads.library import CARDS_DIR, shipped_workloads
from dvfo_env.workloads.networks import NETWORKS
from dvfo_env.workloads.table import checks_markdown, print_markdown
from dvfo_env.workloads.tracing import catalogue_graph
from tests.workloads.builder import GraphBuilder
from tests.workloads.by_hand import GRAPHS

DOCS = Path(__file__).parents[2] / "docs" / "workloads.md"


@pytest.fixture(params=sorted(GRAPHS))
def card(request: pytest.FixtureRequest) -> WorkloadCard:
    return load_workload(request.param)


def graph_of(net: GraphBuilder, *outputs: str) -> Graph:
    return net.graph(
        name="own", title="own", source="own", outputs=outputs, answer_bytes=4, answer_note="a number"
    )


def test_the_public_names_are_exactly_these() -> None:
    assert workloads.__all__ == sorted(workloads.__all__)
    assert set(workloads.__all__) == {
        *("Cut", "CutTensor", "Segment", "WorkloadCard"),
        *("cuts_table", "list_workloads", "load_workload", "segment_of"),
    }


def test_the_shipped_workloads_are_the_networks_of_the_catalogue() -> None:
    assert shipped_workloads() == tuple(sorted(NETWORKS))
    assert set(GRAPHS) < set(NETWORKS)


@pytest.mark.slow
def test_writing_the_cards_again_changes_nothing(tmp_path: Path) -> None:
    for path in write_all(tmp_path):
        assert path.read_bytes() == (CARDS_DIR / path.name).read_bytes(), f"{path.name} is out of date"


@pytest.mark.parametrize("name", ["squeezenet", "yolov3-tiny"])
def test_a_shipped_card_is_what_tracing_gives(name: str) -> None:
    assert load_workload(name) == build_card(catalogue_graph(name))


def test_a_card_read_back_is_the_card_that_was_built(card: WorkloadCard) -> None:
    assert card == build_card(GRAPHS[card.name]())


def test_a_card_says_how_it_was_counted_and_checked(card: WorkloadCard) -> None:
    assert card.counting.startswith("traced")
    assert card.answer_note.startswith("assumed")
    for check in card.checks:
        assert check.agrees, check


def test_segments_sum_to_the_network(card: WorkloadCard) -> None:
    graph = GRAPHS[card.name]()
    assert card.flops.sum() == graph.flops
    assert card.ops.sum() == len(graph.operations)
    assert card.traffic_bytes.sum() == sum(operation.traffic_bytes(4) for operation in graph.operations)
    assert card.weight_bytes.sum() == sum(operation.weight_bytes(4) for operation in graph.operations)
    layers = [layer for segment in card.segments for layer in segment.layers]
    assert sorted(layers) == sorted(operation.name for operation in graph.operations)


def test_arrays_have_one_entry_a_segment_or_a_cut_and_cannot_be_written(card: WorkloadCard) -> None:
    n = len(card.segments)
    assert len(card.cuts) == n + 1
    for array, length in (
        (card.flops, n), (card.traffic_bytes, n), (card.weight_bytes, n), (card.ops, n),
        (card.elements, n + 1), (card.depth, n + 1),
    ):  # fmt: skip
        assert array.shape == (length,)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_depth_runs_from_nothing_to_all(card: WorkloadCard) -> None:
    assert card.depth[0] == 0.0
    assert card.depth[-1] == 1.0
    assert np.all(np.diff(card.depth) >= 0)
    assert np.allclose(np.diff(card.depth), card.flops / card.flops.sum())


def test_the_first_cut_sends_the_raw_image_and_the_last_nothing(card: WorkloadCard) -> None:
    assert card.elements[0] == card.input_bytes == np.prod(card.input_shape)
    assert card.elements[-1] == 0
    assert card.cuts[-1].tensors == ()


def test_a_segment_ends_where_its_cut_lies(card: WorkloadCard) -> None:
    answers = GRAPHS[card.name]().outputs
    for segment, cut in zip(card.segments, card.cuts[1:], strict=True):
        assert segment.last_layer in {tensor.name for tensor in cut.tensors} | set(answers)
        assert (segment.first_layer, segment.last_layer) == (segment.layers[0], segment.layers[-1])


@pytest.mark.parametrize(
    ("name", "cut", "elements"),
    [
        # feature sizes of published layer shapes; fp32 bytes are four times these, int8 bytes equal them
        ("vgg19", "pool3", 200_704),
        ("vgg19", "pool4", 100_352),
        ("vgg19", "pool5", 25_088),
        ("resnet50", "layer1.2", 802_816),
        ("resnet50", "layer2.3", 401_408),
        ("resnet50", "layer3.5", 200_704),
        ("resnet50", "layer4.2", 100_352),
        ("vgg19", "image", 150_528),
        ("inception-v4", "image", 268_203),
        ("yolov3-tiny", "pool_7", 86_528),
    ],
)
def test_bytes_at_the_cut(name: str, cut: str, elements: int) -> None:
    row = next(row for row in cuts_table(load_workload(name)) if row["name"] == cut)
    assert row["elements"] == elements
    assert row["fp32_kb"] * 1000 == 4 * elements
    assert row["int8_kb"] * 1000 == elements


def test_most_early_cuts_in_fp32_are_larger_than_the_raw_image() -> None:
    for name in ("vgg19", "resnet50"):
        card = load_workload(name)
        early = (card.depth > 0) & (card.depth < 0.5)
        assert np.all(4 * card.elements[early] > card.input_bytes)


def test_inception_v4_can_be_cut_at_every_module_and_between_the_stem_parts() -> None:
    names = load_workload("inception-v4").cut_names
    modules = [f"inception_a_{i}" for i in range(1, 5)] + ["reduction_a"]
    modules += [f"inception_b_{i}" for i in range(1, 8)] + ["reduction_b"]
    modules += [f"inception_c_{i}" for i in range(1, 4)] + ["pool", "fc"]
    assert [name for name in names if name in modules] == modules
    assert names[:4] == ("image", "stem_conv_1", "stem_conv_2", "stem_mixed_3")


def test_an_exported_models_operations_find_their_segment() -> None:
    card = load_workload("inception-v4")
    for index, segment in enumerate(card.segments):
        for layer in segment.layers:
            assert segment_of(card, layer) == index
            assert segment_of(card, f"InceptionV4/InceptionV4/{layer}/Conv2D") == index
            assert segment_of(card, f"{layer}/MaxPool") == index


@pytest.mark.parametrize(
    ("op_name", "cut"),
    [
        ("InceptionV4/InceptionV4/Mixed_5b/concat", "inception_a_1"),
        ("InceptionV4/InceptionV4/Mixed_7d/Branch_2/Conv2d_0e_3x1/Conv2D", "inception_c_3"),
        ("InceptionV4/Logits/AvgPool_1a/AvgPool", "pool"),
        (
            "InceptionV4/Logits/AvgPool_1a/AvgPool___tr4InceptionV4/Logits/PreLogitsFlatten/flatten/Reshape",
            "pool",
        ),
        ("InceptionV4/Logits/PreLogitsFlatten/flatten/Reshape/shape/1", "fc"),
        ("InceptionV4/Logits/Logits/MatMul", "fc"),
        ("InceptionV4/Logits/Predictions", "fc"),
        ("Logits/MatMul", "fc"),
    ],
)
def test_operations_that_are_no_layer_go_where_their_scope_ends(op_name: str, cut: str) -> None:
    card = load_workload("inception-v4")
    assert card.cut_names[segment_of(card, op_name) + 1] == cut


def test_an_operation_of_another_network_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"inception-v4: no layer or scope matches the operation 'conv1_1'"):
        segment_of(load_workload("inception-v4"), "conv1_1")


def test_an_unknown_workload_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        load_workload("vgg20")
    assert "'vgg20' is unknown" in str(error.value)
    assert all(name in str(error.value) for name in list_workloads())
    assert "\n" not in str(error.value)


def test_a_missing_card_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere/own\.yaml: cannot be read"):
        load_workload("nowhere/own.yaml")


def test_a_shipped_card_is_read_once() -> None:
    assert load_workload("vgg19") is load_workload("vgg19")


def test_a_network_of_ones_own_is_written_and_loaded_by_path(tmp_path: Path) -> None:
    net = GraphBuilder((1, 8, 8))
    x = net.linear("fc", net.end_block("body", net.conv("body", net.input_name, 4, 3, stride=2)), 2)
    card = build_card(graph_of(net, x))
    assert load_workload(write_card(card, tmp_path)) == card
    assert card.cut_names == ("image", "body", "fc")
    with pytest.raises(ConfigError, match="only its own 3 cuts are known"):
        cuts_table(card, all_cuts=True)


def test_a_network_that_cannot_be_split_inside_has_its_two_ends() -> None:
    net = GraphBuilder((1, 8, 8))
    card = build_card(graph_of(net, net.linear("fc", net.input_name, 2)))
    assert card.cut_names == ("image", "fc")
    assert card.elements.tolist() == [64, 0]
    assert card.depth.tolist() == [0.0, 1.0]


def test_a_network_with_one_cut_has_no_segment() -> None:
    net = GraphBuilder((1, 8, 8))
    card = build_card(graph_of(net, net.input_name))
    assert (len(card.cuts), len(card.segments)) == (1, 0)
    assert card.depth.tolist() == [1.0]
    assert card.flops.sum() == 0.0
    assert cuts_table(card)[0]["traffic_share"] == 0.0


def test_a_network_of_pools_alone_has_depth_only_at_its_end() -> None:
    net = GraphBuilder((1, 8, 8))
    x = net.end_block("half", net.max_pool("half", net.input_name, 2, stride=2))
    card = build_card(graph_of(net, net.max_pool("quarter", x, 2, stride=2)))
    assert card.depth.tolist() == [0.0, 0.0, 1.0]


def break_(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    target: Any = data
    for part in parents:
        target = target[int(part) if part.isdigit() else part]
    target[int(last) if last.isdigit() else last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("cuts.1.elements", 7, "cut 'pool_1': elements 7 do not equal its tensors' 692224"),
        ("cuts.1.name", "image", "two cuts have the same name"),
        ("cuts.0.position", 1, "the first is the raw input at position 0"),
        ("cuts.1.position", 1, "ops between cuts 'image' and 'pool_1', which are 1 operations apart"),
        ("segments.0.ops", 5, "ops is 5 but 2 layers are listed"),
        ("segments.0.flops", -1, "segments.0.flops: Input should be greater than or equal to 0"),
        ("segments", [], "16 cuts need 15 segments, found 0"),
        ("cuts", [], "cuts: Tuple should have at least 1 item"),
        ("input_bytes", 9, "input_bytes: 9 is not one byte an element"),
        ("colour", "red", "colour: unknown key"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused_in_one_line(path: str, value: Any, message: str) -> None:
    data = yaml.safe_load((CARDS_DIR / "yolov3-tiny.yaml").read_text(encoding="utf-8"))
    with pytest.raises(ConfigError) as error:
        parse_record(break_(data, path, value), WorkloadCard, where="own.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_last_cut_that_sends_and_a_first_that_sends_too_little_are_refused() -> None:
    data = yaml.safe_load((CARDS_DIR / "vgg19.yaml").read_text(encoding="utf-8"))
    data["cuts"][-1] |= {"tensors": [{"name": "fc8", "shape": [1000]}], "elements": 1000}
    with pytest.raises(ConfigError, match="sends nothing"):
        parse_record(data, WorkloadCard, where="own.yaml")
    data["cuts"][-1] |= {"tensors": [], "elements": 0}
    data["cuts"][0] |= {"tensors": [{"name": "image", "shape": [1, 224, 224]}], "elements": 50176}
    with pytest.raises(ConfigError, match="sends the raw input, all of it"):
        parse_record(data, WorkloadCard, where="own.yaml")


@pytest.mark.parametrize("name", ["squeezenet", "yolov3-tiny"])
def test_the_table_of_all_cuts_contains_the_cards(name: str) -> None:
    card = load_workload(name)
    rows, every = cuts_table(card), cuts_table(card, all_cuts=True)
    assert [row["index"] for row in rows] == list(range(len(card.cuts)))
    assert [row for row in every if row["index"] is not None] == rows
    assert len(every) == card.ops.sum() + 1
    assert rows[0]["gflop_after"] == rows[-1]["gflop_before"] == card.flops.sum() / 1e9
    assert rows[-1]["traffic_share"] == pytest.approx(1.0)
    assert rows[-1]["ops_before"] == card.ops.sum()


def test_the_documentation_shows_the_cards_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_markdown()
    text = DOCS.read_text(encoding="utf-8")
    assert text.endswith(capsys.readouterr().out)
    assert checks_markdown() in text


def test_loading_a_card_imports_no_framework_and_no_graph() -> None:
    code = (
        "import sys; from dvfo_env.workloads import load_workload; load_workload('vgg19');"
        "print([m for m in ('torch', 'dvfo_env.workloads.networks') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
