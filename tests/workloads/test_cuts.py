"""A cut sends every tensor the rest of the network still reads, and nothing else."""

from __future__ import annotations

from itertools import permutations
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvfo_env.workloads.build import build_card
from dvfo_env.workloads.cuts import (
    INSIDE_BLOCK_MARGIN,
    MAX_CUTS,
    all_cuts,
    card_cuts,
    crossing_tensors,
    execution_order,
    pareto_optimal,
)
from dvfo_env.workloads.graph import Graph, Operation
from tests.workloads.builder import GraphBuilder
from tests.workloads.by_hand import GRAPHS


@pytest.fixture(params=sorted(GRAPHS), scope="module")
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]()


def finish(net: GraphBuilder, *outputs: str) -> Graph:
    return net.graph(
        name="n", title="n", source="n", outputs=outputs, answer_bytes=4, answer_note="one number"
    )


@st.composite
def small_graphs(draw: st.DrawFn) -> Graph:
    """Random networks of 1 to 6 operations, each reading one or two earlier tensors."""
    net = GraphBuilder((1, 4, 4))
    tensors = [net.input_name]
    for i in range(draw(st.integers(1, 6))):
        inputs = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=2, unique=True))
        if len(inputs) == 2:
            tensors.append(net.concat(f"op{i}", *inputs))
        else:
            tensors.append(net.conv(f"op{i}", inputs[0], draw(st.integers(1, 5)), 3))
    return finish(net, tensors[-1])


def waiting(graph: Graph, order: tuple[Operation, ...]) -> int:
    """Sum over all steps of the elements that are still to be read."""
    sizes = {name: prod(shape) for name, shape in graph.shapes.items()}
    return sum(
        sizes[tensor]
        for position in range(1, len(order) + 1)
        for tensor in crossing_tensors(graph, order, position)
    )


def is_topological(graph: Graph, order: tuple[Operation, ...]) -> bool:
    made = {graph.input_name}
    for operation in order:
        if not made.issuperset(operation.inputs):
            return False
        made.add(operation.name)
    return True


@settings(max_examples=40, deadline=None)
@given(small_graphs())
def test_no_order_of_execution_leaves_less_waiting(graph: Graph) -> None:
    chosen = execution_order(graph)
    assert is_topological(graph, chosen)
    assert sorted(operation.name for operation in chosen) == sorted(op.name for op in graph.operations)
    fewest = min(
        waiting(graph, order) for order in permutations(graph.operations) if is_topological(graph, order)
    )
    assert waiting(graph, chosen) == fewest


@settings(max_examples=40, deadline=None)
@given(small_graphs())
def test_a_card_holds_together_for_any_network(graph: Graph) -> None:
    card = build_card(graph, every_cut=True)
    assert card.flops.sum() == graph.flops
    assert card.ops.sum() == len(graph.operations)
    assert len(build_card(graph).cuts) <= len(card.cuts)


def test_a_residual_block_sends_the_shortcut_too() -> None:
    net = GraphBuilder((4, 8, 8))
    trunk = net.conv("trunk", net.input_name, 4, 3)
    branch = net.conv("branch", trunk, 2, 3)
    graph = finish(net, net.add("sum", trunk, net.conv("widen", branch, 4, 3)))
    cut = next(cut for cut in all_cuts(graph) if cut.name == "branch")
    assert cut.tensors == (("trunk", (4, 8, 8)), ("branch", (2, 8, 8)))
    assert cut.elements == 4 * 64 + 2 * 64


def test_on_a_chain_exactly_one_tensor_crosses() -> None:
    cuts = all_cuts(GRAPHS["vgg19"]())
    assert [len(cut.tensors) for cut in cuts] == [1] * (len(cuts) - 1) + [0]


def test_an_answer_the_device_has_computed_is_not_sent() -> None:
    cuts = {cut.name: cut for cut in all_cuts(GRAPHS["yolov3-tiny"]())}
    # the fine head is done on the device; only the coarse head's input is left to send
    assert cuts["conv_22"].tensors == (("conv_13", (256, 13, 13)),)
    assert cuts["pool_9"].tensors == (("conv_8", (256, 26, 26)), ("pool_9", (256, 13, 13)))


def test_between_two_blocks_of_resnet_and_inception_one_tensor_crosses() -> None:
    for name in ("resnet50", "inception-v4"):
        ends = [cut for cut in all_cuts(GRAPHS[name]()) if cut.at_block_end]
        assert [len(cut.tensors) for cut in ends] == [1] * (len(ends) - 1) + [0]


def test_the_full_list_has_a_cut_between_any_two_operations(graph: Graph) -> None:
    cuts = all_cuts(graph)
    assert [cut.position for cut in cuts] == list(range(len(graph.operations) + 1))
    assert cuts[0].tensors == ((graph.input_name, graph.input_shape),)
    assert cuts[-1].tensors == ()
    assert (cuts[0].flops_done, cuts[-1].flops_done) == (0, graph.flops)
    assert len({cut.name for cut in cuts}) == len(cuts)


def test_pareto_optimal_cuts_are_those_no_other_cut_undercuts(graph: Graph) -> None:
    cuts = all_cuts(graph)
    pairs = {(cut.flops_done, cut.elements) for cut in cuts}
    undercut = {
        pair
        for pair in pairs
        if any(other != pair and other[0] <= pair[0] and other[1] <= pair[1] for other in pairs)
    }
    best = [cuts[position] for position in sorted(pareto_optimal(cuts))]
    assert [(cut.flops_done, cut.elements) for cut in best] == sorted(pairs - undercut)


def test_a_card_keeps_both_ends_and_every_clearly_pareto_optimal_place(graph: Graph) -> None:
    cuts, kept = all_cuts(graph), card_cuts(graph)
    assert len(kept) <= MAX_CUTS
    assert (kept[0], kept[-1]) == (cuts[0], cuts[-1])
    for position in pareto_optimal(cuts, INSIDE_BLOCK_MARGIN):
        wanted = cuts[position]
        block_end = next(cut for cut in cuts if cut.position >= position and cut.at_block_end)
        assert any(cut.elements <= wanted.elements and cut.position <= block_end.position for cut in kept), (
            wanted
        )


def test_a_card_leaves_out_only_block_ends_that_send_more_than_the_raw_image() -> None:
    for name, build in GRAPHS.items():
        graph = build()
        kept = {cut.name for cut in card_cuts(graph)}
        left_out = [cut for cut in all_cuts(graph) if cut.at_block_end and cut.name not in kept]
        raw = all_cuts(graph)[0].elements
        assert all(cut.elements > 3 * raw for cut in left_out), name


def test_cuts_inside_a_block_that_the_cards_keep_are_the_small_ones() -> None:
    inside = {
        name: [
            (cut.name, cut.elements, len(cut.tensors)) for cut in card_cuts(build()) if not cut.at_block_end
        ]
        for name, build in GRAPHS.items()
    }
    assert inside == {
        "inception-v4": [
            ("Mixed_7a/Branch_0/Conv2d_1a_3x3", 64 * (1024 + 192) + 256 * 289, 3),
            ("Mixed_7b/Branch_3/Conv2d_0b_1x1", 64 * (256 + 384 + 384 + 256), 4),
        ],
        "resnet50": [("layer4.0.conv2", 512 * 49 + 2048 * 49, 2)],
        "vgg19": [],
        "yolov3-tiny": [],
    }
