"""The workload card: a network as the cost model sees it, segments with a cut before, between and after.

    cut 0 --segment 0--> cut 1 --segment 1--> cut 2 ... --segment n-1--> cut n

At cut 0 nothing has run and the raw image is sent; at the last cut everything has run and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dvfo_env.errors import ConfigError
from dvfo_env.schema import Record
from dvfo_env.workloads.graph import Quantity, Shape


class CutTensor(Record):
    """One tensor that crosses a cut: the layer that made it and its shape without the batch dimension."""

    name: str
    shape: Shape


class Cut(Record):
    """One place where the network can be split.

    `position` counts the operations before it; `elements` is the sum over all crossing `tensors` (what is
    sent is `elements` times the bytes an element takes on the wire). The last cut has no tensors.
    """

    name: str
    position: int = Field(ge=0)
    tensors: tuple[CutTensor, ...]
    elements: int = Field(ge=0)

    @model_validator(mode="after")
    def _elements_are_those_of_the_tensors(self) -> Cut:
        total = sum(prod(tensor.shape) for tensor in self.tensors)
        if total != self.elements:
            raise ValueError(f"cut {self.name!r}: elements {self.elements} do not equal its tensors' {total}")
        return self


class Segment(Record):
    """What runs between two consecutive cuts.

    `flops`: two per multiply-accumulate. `traffic_bytes_fp32`: inputs and weights read and outputs written
    once by every operation, four bytes an element; halve it for fp16. `weight_bytes_fp32`: the weights' share
    of it. `ops`: number of kernels. `layers`: the operations in execution order.
    """

    flops: int = Field(ge=0)
    traffic_bytes_fp32: int = Field(ge=0)
    weight_bytes_fp32: int = Field(ge=0)
    ops: int = Field(ge=1)
    layers: tuple[str, ...]

    @property
    def first_layer(self) -> str:
        """Name of the operation that runs first."""
        return self.layers[0]

    @property
    def last_layer(self) -> str:
        """Name of the operation that runs last."""
        return self.layers[-1]

    @model_validator(mode="after")
    def _one_layer_an_op(self) -> Segment:
        if len(self.layers) != self.ops:
            raise ValueError(f"ops is {self.ops} but {len(self.layers)} layers are listed")
        return self


class Check(Record):
    """A count of ours beside the figure somebody else has published for the network.

    `last_digit` is one unit of the published figure's last digit; `also_counted` is what its publisher counts
    and we do not (the note says what).
    """

    quantity: Quantity
    computed: float
    published: float
    last_digit: float = Field(gt=0.0)
    also_counted: float | None = None
    source: str
    note: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether ours, with what the publisher also counts, rounds to the published figure."""
        computed = self.computed + (self.also_counted or 0.0)
        return abs(computed - self.published) <= 0.5 * self.last_digit * (1.0 + 1e-9)


class WorkloadCard(Record):
    """A network ready for the cost model; see the module's first lines for how cuts and segments interleave.

    Attributes:
        name, title, source: what it is called in files, what a reader calls it, and where its definition is
        published.
        counting: how shapes, FLOPs and bytes were obtained.
        checks: our counts beside published ones.
        input_shape: (channels, height, width) of the raw image.
        input_bytes: bytes of the raw image, one an element (8-bit).
        answer_bytes, answer_note: what a server sends back, and the assumption behind it.
        parameters: trained parameters.
        cuts: n + 1 of them.
        segments: n of them.

    All arrays below are read-only.
    """

    name: str
    title: str
    source: str
    counting: str
    checks: tuple[Check, ...]
    input_shape: Shape
    input_bytes: int = Field(ge=1)
    answer_bytes: int = Field(ge=0)
    answer_note: str
    parameters: int = Field(ge=0)
    cuts: tuple[Cut, ...] = Field(min_length=1)
    segments: tuple[Segment, ...]

    @model_validator(mode="after")
    def _cuts_and_segments_interleave(self) -> WorkloadCard:
        cuts, segments = self.cuts, self.segments
        if len(segments) != len(cuts) - 1:
            raise ValueError(
                f"segments: {len(cuts)} cuts need {len(cuts) - 1} segments, found {len(segments)}"
            )
        if len({cut.name for cut in cuts}) != len(cuts):
            raise ValueError("cuts: two cuts have the same name")
        if cuts[0].position != 0:
            raise ValueError(f"cuts: the first is the raw input at position 0, not {cuts[0].position}")
        for (before, after), segment in zip(pairwise(cuts), segments, strict=True):
            if after.position - before.position != segment.ops:
                raise ValueError(
                    f"segments: {segment.ops} ops between cuts {before.name!r} and {after.name!r}, "
                    f"which are {after.position - before.position} operations apart"
                )
        if prod(self.input_shape) != self.input_bytes:
            raise ValueError(
                f"input_bytes: {self.input_bytes} is not one byte an element of {self.input_shape}"
            )
        if cuts[-1].elements:
            raise ValueError("cuts: the last one is after the whole network and sends nothing")
        if len(cuts) > 1 and cuts[0].elements != self.input_bytes:
            raise ValueError("cuts: the first one sends the raw input, all of it")
        return self

    @cached_property
    def flops(self) -> npt.NDArray[np.float64]:
        """[segments] floating-point operations, two per multiply-accumulate."""
        return _floats(segment.flops for segment in self.segments)

    @cached_property
    def traffic_bytes(self) -> npt.NDArray[np.float64]:
        """[segments] bytes moved at fp32: activations read and written, and weights."""
        return _floats(segment.traffic_bytes_fp32 for segment in self.segments)

    @cached_property
    def weight_bytes(self) -> npt.NDArray[np.float64]:
        """[segments] bytes of weights at fp32, a part of `traffic_bytes`."""
        return _floats(segment.weight_bytes_fp32 for segment in self.segments)

    @cached_property
    def ops(self) -> npt.NDArray[np.int64]:
        """[segments] number of kernels."""
        return _integers(segment.ops for segment in self.segments)

    @cached_property
    def elements(self) -> npt.NDArray[np.int64]:
        """[cuts] elements sent; the last is 0."""
        return _integers(cut.elements for cut in self.cuts)

    @cached_property
    def depth(self) -> npt.NDArray[np.float64]:
        """[cuts] share of the network's FLOPs done before each cut, from 0 to exactly 1 at the last."""
        done = np.concatenate([[0.0], np.cumsum(self.flops)])
        depth = done / done[-1] if done[-1] > 0 else np.zeros_like(done)
        depth[-1] = 1.0
        return _floats(depth)

    @property
    def cut_names(self) -> tuple[str, ...]:
        """Names of the cuts, in order."""
        return tuple(cut.name for cut in self.cuts)

    @cached_property
    def _segment_of_layer(self) -> dict[str, int]:
        return {layer: index for index, segment in enumerate(self.segments) for layer in segment.layers}


def segment_of(card: WorkloadCard, op_name: str) -> int:
    """Index of the segment that runs an operation called `op_name` in an exported model's timing table.

    Exporters wrap a layer's name in outer scopes and append the kind of kernel
    (`InceptionV4/InceptionV4/Mixed_5b/Branch_0/Conv2d_0a_1x1/Conv2D`); both are stripped. An operation that
    is no layer of ours (flatten, softmax, a constant: `InceptionV4/Logits/Predictions`) goes where the last
    layer of the innermost scope it shares with a layer runs.

    Raises:
        ConfigError: the name shares neither a layer nor a scope with the card.
    """
    layers = card._segment_of_layer
    parts = op_name.split("/")
    paths = ["/".join(parts[a:b]) for a in range(len(parts)) for b in range(len(parts), a, -1)]
    for path in paths:
        if path in layers:
            return layers[path]
    for path in paths:
        inside = [segment for layer, segment in layers.items() if layer.startswith(path + "/")]
        if inside:
            return max(inside)
    raise ConfigError(
        f"workload {card.name}: no layer or scope matches the operation {op_name!r}; "
        f"layers are called like {next(iter(layers), '(none)')!r}"
    )


def _floats(values: Iterable[float]) -> npt.NDArray[np.float64]:
    array = np.fromiter(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def _integers(values: Iterable[int]) -> npt.NDArray[np.int64]:
    array = np.fromiter(values, dtype=np.int64)
    array.setflags(write=False)
    return array
