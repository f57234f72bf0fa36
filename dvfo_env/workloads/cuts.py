"""Where a network can be cut: the order in which its operations run, and what crosses between done and to do.

A *cut* stands between two operations in execution order: everything before it has run on the device,
everything after it is to run on the server, and the tensors that cross are those the remaining operations
still read. On a chain one tensor crosses; inside a residual or inception block several do, and all of them
are sent.

An answer the device has computed itself stays there (the device is who asked), so outputs never cross, and
after the last operation nothing is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from dvfo_env.workloads.graph import Graph, Operation, Shape

MAX_CUTS = 24
"""Cuts kept in a card, both ends included."""

INSIDE_BLOCK_MARGIN = 0.10
"""Share by which a cut inside a block must undercut every earlier one to be kept in a card."""

_BEAM = 4096


@dataclass(frozen=True)
class CutPoint:
    """One place to cut.

    Attributes:
        name: the raw input's name, the block that ends here, or the operation that ran last.
        position: number of operations that have run.
        tensors: (name, shape) of every tensor that crosses, in the order they were made.
        flops_done: floating-point operations before the cut.
        at_block_end: whether a block, or the network, begins or ends here.
    """

    name: str
    position: int
    tensors: tuple[tuple[str, Shape], ...]
    flops_done: int
    at_block_end: bool

    @property
    def elements(self) -> int:
        """Elements of all crossing tensors together."""
        return sum(prod(shape) for _, shape in self.tensors)


def execution_order(graph: Graph) -> tuple[Operation, ...]:
    """The order in which the device runs the operations: the one with the least waiting to be read.

    Of all topological orders the one with the smallest sum, over all steps, of elements that later operations
    still read; with equal sums the order of definition wins. Branches of a block thus run so that big tensors
    are used up early, which is what makes cuts inside a block small. Exact while no step has more than 4096
    different sets of finished operations (every shipped network stays below 100), a beam search beyond.
    """
    operations = graph.operations
    index = {operation.name: i for i, operation in enumerate(operations)}
    readers: dict[str, int] = dict.fromkeys(graph.shapes, 0)
    for i, operation in enumerate(operations):
        for tensor in operation.inputs:
            readers[tensor] |= 1 << i
    needs = [sum(1 << index[tensor] for tensor in set(op.inputs) if tensor in index) for op in operations]
    sizes = {tensor: prod(shape) for tensor, shape in graph.shapes.items()}
    # finished set (one bit an operation) -> (sum of waiting elements, order so far, elements waiting now)
    states: dict[int, tuple[int, tuple[int, ...], int]] = {0: (0, (), sizes[graph.input_name])}
    for _ in operations:
        following: dict[int, tuple[int, tuple[int, ...], int]] = {}
        for done, (total, order, waiting) in states.items():
            for i, operation in enumerate(operations):
                if done >> i & 1 or needs[i] & ~done:
                    continue
                after = done | 1 << i
                freed = sum(sizes[t] for t in set(operation.inputs) if not readers[t] & ~after)
                made = sizes[operation.name] if readers[operation.name] else 0
                now = waiting - freed + made
                candidate = (total + now, (*order, i), now)
                if after not in following or candidate < following[after]:
                    following[after] = candidate
        states = dict(sorted(following.items(), key=lambda item: item[1])[:_BEAM])
    ((_, order, _),) = states.values()
    return tuple(operations[i] for i in order)


def crossing_tensors(graph: Graph, order: tuple[Operation, ...], position: int) -> tuple[str, ...]:
    """Names of the tensors, the raw input included, made before `position` and read after it."""
    needed = {tensor for operation in order[position:] for tensor in operation.inputs}
    made = (graph.input_name, *(operation.name for operation in order[:position]))
    return tuple(tensor for tensor in made if tensor in needed)


def all_cuts(graph: Graph) -> tuple[CutPoint, ...]:
    """Every cut in execution order: before the first operation and after each one."""
    order = execution_order(graph)
    shapes = graph.shapes
    cuts = []
    flops_done = 0
    for position in range(len(order) + 1):
        last = order[position - 1].name if position else graph.input_name
        flops_done += order[position - 1].flops if position else 0
        tensors = tuple((name, shapes[name]) for name in crossing_tensors(graph, order, position))
        end = position in (0, len(order)) or last in graph.blocks
        cuts.append(CutPoint(graph.blocks.get(last, last), position, tensors, flops_done, end))
    return tuple(cuts)


def pareto_optimal(cuts: tuple[CutPoint, ...], margin: float = 0.0) -> frozenset[int]:
    """Positions of the cuts that send less than every other cut with no more FLOPs before it.

    `margin` asks for more: at least that share less than the best such cut. Of cuts that are equal in both, a
    block end counts, else the earliest. Elements are compared as they are, so the raw input stands in the
    comparison with one byte an element.
    """
    best: set[int] = set()
    fewest: int | None = None
    for cut in sorted(
        cuts, key=lambda cut: (cut.flops_done, cut.elements, not cut.at_block_end, cut.position)
    ):
        if fewest is None or cut.elements < fewest:
            if fewest is None or cut.elements <= (1 - margin) * fewest:
                best.add(cut.position)
            fewest = cut.elements
    return frozenset(best)


def card_cuts(graph: Graph, max_cuts: int = MAX_CUTS) -> tuple[CutPoint, ...]:
    """The cuts worth a place in a card, at most `max_cuts` (2 or more).

    1. Both ends and the end of every block, however many tensors cross there.
    2. Inside each block the one Pareto-optimal cut with the fewest elements, if it sends at least a tenth
    less than
       every cut with no more FLOPs before it.
    3. Where that is too many, block ends that are not Pareto-optimal go, the one with the most elements first
    (of
       equals the later one).
    4. Where it still is, of the Pareto-optimal ones those whose loss costs least (`_thinned`).
    """
    cuts = all_cuts(graph)
    best = pareto_optimal(cuts) | {0, len(graph.operations)}
    clearly_better = pareto_optimal(cuts, INSIDE_BLOCK_MARGIN)
    kept: list[CutPoint] = []
    inside: list[CutPoint] = []
    for cut in cuts:
        if cut.at_block_end:
            kept += [*sorted(inside, key=lambda cut: cut.elements)[:1], cut]
            inside = []
        elif cut.position in clearly_better:
            inside.append(cut)
    spare = sorted(
        (cut for cut in kept if cut.position not in best),
        key=lambda cut: (-cut.elements, -cut.position),
    )
    dropped = {cut.position for cut in spare[: max(0, len(kept) - max_cuts)]}
    return _thinned([cut for cut in kept if cut.position not in dropped], max_cuts)


def _thinned(kept: list[CutPoint], max_cuts: int) -> tuple[CutPoint, ...]:
    """Take away inner cuts, one by one, each time the one whose loss costs least.

    Without a cut, who would have taken it takes the one before, which sends more: the cost is that difference
    times the FLOPs up to the next cut.
    """
    while len(kept) > max_cuts:
        costs = [
            (max(0, before.elements - cut.elements) * (after.flops_done - cut.flops_done), -cut.position)
            for before, cut, after in zip(kept, kept[1:], kept[2:], strict=False)
        ]
        del kept[1 + costs.index(min(costs))]
    return tuple(kept)
