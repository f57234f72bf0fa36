"""From a traced model to a `Graph` with names and blocks, for the catalogue and for anybody's own model."""

from __future__ import annotations

from dvfo_env.workloads.graph import Graph, Operation
from dvfo_env.workloads.networks.catalogue import NETWORKS, Network


def catalogue_graph(name: str) -> Graph:
    """The graph of a network of the catalogue, traced from its torch definition (takes a second or two)."""
    from dvfo_env.workloads.from_torch import trace_torch
    from dvfo_env.workloads.networks import build_network, example_input

    network = NETWORKS[name]
    trace = trace_torch(
        build_network(name, device="meta"), example_input(name, device="meta"), network.input_name
    )
    layers = [operation.name for operation in trace.merged.operations]
    merged = trace.merged.renamed({layer: network.layer(layer) for layer in layers})
    return Graph(
        name=network.name,
        title=network.title,
        source=network.source,
        input_name=network.input_name,
        input_shape=trace.input_shape,
        operations=merged.operations,
        blocks=_blocks(network, merged.operations),
        outputs=merged.outputs,
        answer_bytes=network.answer_bytes,
        answer_note=network.answer_note,
        published=network.published,
    )


def _blocks(network: Network, operations: tuple[Operation, ...]) -> dict[str, str]:
    """Last operation of each block -> its name; of several layers that match, the last ends the block."""
    last: dict[str, str] = {}
    for operation in operations:
        block = network.block_of(operation.name)
        if block is not None:
            last[block] = operation.name
    return {layer: block for block, layer in last.items()}
