"""A network as a directed acyclic graph of operations: shapes, FLOPs, parameters and memory traffic.

Only what the device and the uplink feel belongs here: every operation is one kernel on the device, has one
output tensor, and knows how many floating-point operations it needs and how many elements it moves. Batch
normalisation, bias and activation are merged into the operation that produces their input, as every inference
runtime does. Shapes are (channels, height, width) or (features,), without the batch dimension (batch 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import prod
from typing import Literal

Shape = tuple[int, ...]

Quantity = Literal["gmac", "gflop", "parameters", "parameters_and_statistics"]
"""What a published figure counts: `gflop` is two per multiply-accumulate, statistics are batch norm's."""


@dataclass(frozen=True)
class Operation:
    """One operation and the tensor it produces; both carry `name`.

    Attributes:
        name: name of the layer and of its output tensor, unique in the graph.
        kind: `conv`, `max_pool`, `avg_pool`, `global_pool`, `linear`, `add`, `concat` or `upsample`.
        inputs: names of the tensors it reads (an operation, or the graph's input).
        shape: shape of its output.
        flops: floating-point operations, two per multiply-accumulate of a convolution or linear layer.
        Pooling,
            addition, concatenation and upsampling count 0, as in the published figures; their cost is
            traffic.
        parameters: trained parameters, the batch norm's scale and shift counted, its running statistics not.
        weight_elements: numbers read from memory to run it, batch norm folded into weights and one bias per
        channel.
        running_statistics: means and variances a batch norm keeps beside its trained parameters.
        input_elements: elements read from all inputs together.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: Shape
    flops: int
    parameters: int
    weight_elements: int
    running_statistics: int
    input_elements: int

    @property
    def elements(self) -> int:
        """Number of elements of the output tensor."""
        return prod(self.shape)

    def weight_bytes(self, element_bytes: int) -> int:
        """Bytes of weights read, at `element_bytes` bytes a number (4 = fp32)."""
        return self.weight_elements * element_bytes

    def traffic_bytes(self, element_bytes: int) -> int:
        """Bytes moved if nothing stays in a cache: inputs and weights read once, output written once."""
        return (self.input_elements + self.weight_elements + self.elements) * element_bytes


@dataclass(frozen=True)
class PublishedFigure:
    """One figure somebody else has published for the same network, to check ours against.

    Attributes:
        quantity: what is counted.
        printed: the figure with the digits it was printed with (`2.4195`, `18.9e6`): ours must round to it.
        source, note: where it stands, and what differs.
        also_counts: what the publisher counts and we do not, added to ours before the two are compared.
    """

    quantity: Quantity
    printed: str
    source: str
    note: str | None = None
    also_counts: float = 0.0

    @property
    def value(self) -> float:
        """The figure as a number."""
        return float(self.printed)

    @property
    def last_digit(self) -> float:
        """What one unit of its last printed digit is worth."""
        exponent = Decimal(self.printed).as_tuple().exponent
        return float(Decimal(1).scaleb(int(exponent)))


@dataclass(frozen=True)
class Graph:
    """A whole network.

    Attributes:
        name, title, source: what it is called in files, what a reader calls it, where its definition comes
        from.
        input_name, input_shape: the raw input, an 8-bit image: one byte an element.
        operations: in the order of definition, which is a topological order.
        blocks: name of the last operation of each block -> name of the block.
        outputs: the tensors that are the network's answer.
        answer_bytes, answer_note: what a server sends back, and the assumption behind it.
        published: figures to check the counts against.
    """

    name: str
    title: str
    source: str
    input_name: str
    input_shape: Shape
    operations: tuple[Operation, ...]
    blocks: Mapping[str, str]
    outputs: tuple[str, ...]
    answer_bytes: int
    answer_note: str
    published: tuple[PublishedFigure, ...] = ()

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Tensor name -> shape, the raw input included."""
        shapes = {operation.name: operation.shape for operation in self.operations}
        return {self.input_name: self.input_shape, **shapes}

    @property
    def flops(self) -> int:
        """Floating-point operations of one inference, two per multiply-accumulate."""
        return sum(operation.flops for operation in self.operations)

    @property
    def parameters(self) -> int:
        """Trained parameters."""
        return sum(operation.parameters for operation in self.operations)

    def quantity(self, name: Quantity) -> float:
        """The count that a `PublishedFigure` of that quantity speaks of."""
        statistics = sum(operation.running_statistics for operation in self.operations)
        return {
            "gmac": self.flops / 2e9,
            "gflop": self.flops / 1e9,
            "parameters": float(self.parameters),
            "parameters_and_statistics": float(self.parameters + statistics),
        }[name]
