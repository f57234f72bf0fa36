"""From a graph to its card, and from the card to the file in `cards/`.

All cards are written anew by

    python -c "from dvfo_env.workloads.build import write_all; write_all()"
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from pathlib import Path

from dvfo_env.record_yaml import write_record
from dvfo_env.workloads.card import Check, Cut, CutTensor, Segment, WorkloadCard
from dvfo_env.workloads.cuts import MAX_CUTS, CutPoint, all_cuts, card_cuts, execution_order
from dvfo_env.workloads.graph import Graph, Operation
from dvfo_env.workloads.library import CARDS_DIR
from dvfo_env.workloads.networks.catalogue import NETWORKS
from dvfo_env.workloads.tracing import catalogue_graph

COUNTING = (
    "traced at batch 1; flops = 2 x multiply-accumulates of convolutions, linear layers and matrix products, "
    "all else 0; traffic = inputs + weights + output of every operation, once, 4 bytes an element; batch "
    "norm, bias and activation merged into their layer"
)

_HEADER = """\
# A workload: {title}.
# Generated {origin}; edit that, not this.
# Cut i lies before segment i. Shapes are without the batch dimension, at batch 1.
"""

_FP32_BYTES = 4


def build_card(graph: Graph, every_cut: bool = False, max_cuts: int = MAX_CUTS) -> WorkloadCard:
    """The card of a network, with at most `max_cuts` cuts as by `card_cuts`, or with every cut there is."""
    order = execution_order(graph)
    points = all_cuts(graph) if every_cut else card_cuts(graph, max_cuts)
    ends = [point.position for point in points]
    runs = [order[start:end] for start, end in pairwise(ends)]
    return WorkloadCard(
        name=graph.name,
        title=graph.title,
        source=graph.source,
        counting=COUNTING,
        checks=tuple(
            Check(
                quantity=figure.quantity,
                computed=round(graph.quantity(figure.quantity), 6),
                published=figure.value,
                last_digit=figure.last_digit,
                also_counted=figure.also_counts or None,
                source=figure.source,
                note=figure.note,
            )
            for figure in graph.published
        ),
        input_shape=graph.input_shape,
        input_bytes=prod(graph.input_shape),
        answer_bytes=graph.answer_bytes,
        answer_note=graph.answer_note,
        parameters=graph.parameters,
        cuts=tuple(_cut(point) for point in points),
        segments=tuple(_segment(run) for run in runs),
    )


def write_card(card: WorkloadCard, folder: Path | str = CARDS_DIR, origin: str = "by hand") -> Path:
    """Write `<folder>/<name>.yaml` and return its path; the same card always gives the same bytes.

    `origin` completes "Generated ..." in the file's first lines.
    """
    path = Path(folder) / f"{card.name}.yaml"
    header = _HEADER.format(title=card.title, origin=origin)
    return write_record(card, path, header)


def write_all(folder: Path | str = CARDS_DIR) -> tuple[Path, ...]:
    """Write the cards of all shipped networks."""
    origin = "from dvfo_env/workloads/networks by dvfo_env.workloads.build"
    return tuple(write_card(build_card(catalogue_graph(name)), folder, origin) for name in NETWORKS)


def _cut(point: CutPoint) -> Cut:
    tensors = tuple(CutTensor(name=name, shape=shape) for name, shape in point.tensors)
    return Cut(name=point.name, position=point.position, tensors=tensors, elements=point.elements)


def _segment(operations: tuple[Operation, ...]) -> Segment:
    return Segment(
        flops=sum(operation.flops for operation in operations),
        traffic_bytes_fp32=sum(operation.traffic_bytes(_FP32_BYTES) for operation in operations),
        weight_bytes_fp32=sum(operation.weight_bytes(_FP32_BYTES) for operation in operations),
        ops=len(operations),
        layers=tuple(operation.name for operation in operations),
    )
