"""Writing a network down operation by operation; shapes and counts are inferred on the way.

    net = GraphBuilder((3, 224, 224))
    x = net.conv("conv1_1", net.input_name, 64, 3)
    x = net.max_pool("pool1", x, 2, stride=2)
    net.end_block("block1", x)
    graph = net.graph(name="tiny", ...)

Methods take and return tensor names, so a branch is an ordinary variable.
"""

from __future__ import annotations

from math import prod

from dvfo_env.errors import ConfigError
from dvfo_env.workloads.graph import Graph, Operation, PublishedFigure, Shape

Kernel = int | tuple[int, int]
Padding = int | tuple[int, int] | str


class GraphBuilder:
    """Collects operations; every method adds one and returns the name of its output tensor.

    Args:
        input_shape: (channels, height, width) of the raw image.
        input_name: what the raw image is called in cuts.

    Paddings are `"valid"` (none), `"same"` (output = ceil(input / stride), as TensorFlow and darknet pad), or
    the number of rows and columns added on each side, as PyTorch counts (output = floor((size + 2 pad -
    kernel) / stride) + 1).

    Raises:
        ConfigError: from every method, for a name used twice, an unknown input or shapes that do not fit.
    """

    def __init__(self, input_shape: Shape, input_name: str = "image") -> None:
        self.input_name = input_name
        self._input_shape = input_shape
        self._shapes: dict[str, Shape] = {input_name: input_shape}
        self._operations: list[Operation] = []
        self._blocks: dict[str, str] = {}

    def conv(
        self,
        name: str,
        tensor: str,
        channels: int,
        kernel: Kernel,
        *,
        stride: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        batch_norm: bool = True,
    ) -> str:
        """Convolution with batch norm (or, without one, a bias) and activation merged.

        FLOPs are 2 x kernel area x input channels / groups x output elements. A batch norm trains a scale and
        a shift per channel and keeps a mean and a variance; all four fold into the weights and one bias.
        Depthwise: groups = input channels.
        """
        in_channels, height, width = self._image(name, tensor)
        rows, columns = _pair(kernel)
        out_height, out_width = _window(name, (height, width), (rows, columns), stride, padding)
        if in_channels % groups or channels % groups:
            raise ConfigError(
                f"{name}: {in_channels} -> {channels} channels do not divide into {groups} groups"
            )
        weights = rows * columns * in_channels // groups * channels
        shape = (channels, out_height, out_width)
        trained = weights + channels * (2 if batch_norm else 1)
        flops = 2 * weights * out_height * out_width
        statistics = 2 * channels if batch_norm else 0
        return self._add(
            name, "conv", (tensor,), shape, flops, trained, weights + channels, running_statistics=statistics
        )

    def linear(self, name: str, tensor: str, features: int) -> str:
        """Fully connected layer with bias on the flattened input (flattening is a view and costs nothing)."""
        inputs = prod(self._shape(name, tensor))
        weights = (inputs + 1) * features
        return self._add(name, "linear", (tensor,), (features,), 2 * inputs * features, weights, weights)

    def max_pool(
        self, name: str, tensor: str, kernel: Kernel, *, stride: int = 1, padding: Padding = "valid"
    ) -> str:
        """Maximum over a sliding window."""
        return self._pool("max_pool", name, tensor, kernel, stride, padding)

    def avg_pool(
        self, name: str, tensor: str, kernel: Kernel, *, stride: int = 1, padding: Padding = "valid"
    ) -> str:
        """Mean over a sliding window."""
        return self._pool("avg_pool", name, tensor, kernel, stride, padding)

    def global_pool(self, name: str, tensor: str) -> str:
        """Mean over the whole image, one number a channel."""
        channels, _, _ = self._image(name, tensor)
        return self._add(name, "global_pool", (tensor,), (channels, 1, 1))

    def add(self, name: str, *tensors: str) -> str:
        """Elementwise sum of tensors of one shape (the join of a residual block), activation merged."""
        shapes = {self._shape(name, tensor) for tensor in tensors}
        if len(shapes) != 1:
            raise ConfigError(f"{name}: cannot add tensors of shapes {sorted(shapes)}")
        return self._add(name, "add", tensors, shapes.pop())

    def concat(self, name: str, *tensors: str) -> str:
        """Join along the channels; counted as a copy, which some runtimes avoid."""
        images = [self._image(name, tensor) for tensor in tensors]
        if len({image[1:] for image in images}) != 1:
            raise ConfigError(f"{name}: cannot join images of shapes {images}: heights and widths differ")
        channels = sum(image[0] for image in images)
        return self._add(name, "concat", tensors, (channels, *images[0][1:]))

    def upsample(self, name: str, tensor: str, factor: int) -> str:
        """Repeat every pixel `factor` times in both directions."""
        channels, height, width = self._image(name, tensor)
        return self._add(name, "upsample", (tensor,), (channels, height * factor, width * factor))

    def end_block(self, block: str, tensor: str) -> str:
        """Call the place after the operation `tensor` the end of a block, named `block`; returns `tensor`."""
        if tensor not in self._shapes or tensor == self.input_name:
            raise ConfigError(f"{block}: a block ends at an operation, not at {tensor!r}")
        if block in self._blocks.values() or tensor in self._blocks:
            raise ConfigError(f"{block}: the block, or one ending at {tensor!r}, exists already")
        self._blocks[tensor] = block
        return tensor

    def graph(
        self,
        *,
        name: str,
        title: str,
        source: str,
        outputs: tuple[str, ...],
        answer_bytes: int,
        answer_note: str,
        published: tuple[PublishedFigure, ...] = (),
    ) -> Graph:
        """The finished network; the arguments are those of `Graph`."""
        for output in outputs:
            self._shape(name, output)
        return Graph(
            name=name,
            title=title,
            source=source,
            input_name=self.input_name,
            input_shape=self._input_shape,
            operations=tuple(self._operations),
            blocks=dict(self._blocks),
            outputs=outputs,
            answer_bytes=answer_bytes,
            answer_note=answer_note,
            published=published,
        )

    def _pool(self, kind: str, name: str, tensor: str, kernel: Kernel, stride: int, padding: Padding) -> str:
        channels, height, width = self._image(name, tensor)
        out = _window(name, (height, width), _pair(kernel), stride, padding)
        return self._add(name, kind, (tensor,), (channels, *out))

    def _add(
        self,
        name: str,
        kind: str,
        inputs: tuple[str, ...],
        shape: Shape,
        flops: int = 0,
        parameters: int = 0,
        weight_elements: int = 0,
        running_statistics: int = 0,
    ) -> str:
        if name in self._shapes:
            raise ConfigError(f"{name}: two operations have this name")
        input_elements = sum(prod(self._shapes[tensor]) for tensor in inputs)
        self._operations.append(
            Operation(
                name,
                kind,
                inputs,
                shape,
                flops=flops,
                parameters=parameters,
                weight_elements=weight_elements,
                running_statistics=running_statistics,
                input_elements=input_elements,
            )
        )
        self._shapes[name] = shape
        return name

    def _shape(self, name: str, tensor: str) -> Shape:
        if tensor not in self._shapes:
            raise ConfigError(f"{name}: reads {tensor!r}, which no earlier operation makes")
        return self._shapes[tensor]

    def _image(self, name: str, tensor: str) -> tuple[int, int, int]:
        shape = self._shape(name, tensor)
        if len(shape) != 3:
            raise ConfigError(f"{name}: needs (channels, height, width), {tensor!r} has shape {shape}")
        return shape[0], shape[1], shape[2]


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _window(
    name: str, size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: Padding
) -> tuple[int, int]:
    """Height and width after a sliding window."""
    if padding == "same":
        return -(-size[0] // stride), -(-size[1] // stride)
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        raise ConfigError(f"{name}: padding {padding!r} is not 'same', 'valid' or a number")
    pads = _pair(padding)
    height, width = (
        (edge + 2 * pad - window) // stride + 1 for edge, pad, window in zip(size, pads, kernel, strict=True)
    )
    if height < 1 or width < 1:
        raise ConfigError(f"{name}: a {kernel[0]}x{kernel[1]} window does not fit into {size[0]}x{size[1]}")
    return height, width
