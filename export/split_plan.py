"""From an ONNX model and its card to a split plan: cuts by the card's names, calibrations of what crosses."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.cutting import Cut, Network
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_controller.split.plan import Scaling, SplitPlan, codec_shape, write_plan
from dvfo_env.codecs import QUANTISED_BITS, ChannelCalibration
from dvfo_env.errors import SplitError
from dvfo_env.workloads import WorkloadCard

#: Smooth random images where there are no real ones, and how many.
SMOOTH_IMAGES = 16
#: Values of bytes 0 to 255 as 0 to 1.
TO_ONE = Scaling((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))


def make_split_plan(
    model: Path,
    card: WorkloadCard,
    images: Sequence[NDArray[Any]] | None,
    folder: Path,
    scaling: Scaling | None = None,
    bits: Sequence[int] = QUANTISED_BITS,
) -> SplitPlan:
    """Make a split plan and write it.

    Args:
        model: the .onnx file.
        card: its workload card, made from the same file, or from the torch module it was exported from.
        images: to calibrate on, as `Engine.head` takes them; None: smooth random ones, and the plan says so.
        folder: where it goes, such as NAME.split.
        scaling: how an image of bytes becomes the model's input; needed by image codecs.
        bits: that the calibrations shall serve, of 8 and fewer; () for none.

    Raises:
        ConfigError: the model cannot be traced, or the folder cannot be written.
        SplitError: the card is not of this model.
    """
    network = Network(Path(model).read_bytes(), (1, *card.input_shape))
    cuts = named_cuts(model, card, network)
    plan = SplitPlan(network.digest, cuts, {}, scaling)
    words = f"{len(images or ())} images"
    if images is None:
        images, words = (
            smooth_images(card.input_shape, SMOOTH_IMAGES),
            f"{SMOOTH_IMAGES} smooth random images",
        )
    calibrations = {}
    if bits and len(images):
        engine = Engine(network, plan, most_sessions=4)
        for cut in cuts:
            specs = engine.tensors(cut)
            if specs and all(spec.dtype.kind == "f" for spec in specs):
                calibrations[cut.name] = calibrated(engine, cut, images, bits)
        engine.close()
    return write_plan(folder, SplitPlan(network.digest, cuts, calibrations, scaling, words if bits else ""))


def named_cuts(model: Path, card: WorkloadCard, network: Network | None = None) -> tuple[Cut, ...]:
    """The cuts of a card as tensors of an ONNX model.

    Raises:
        SplitError: the card is not of this model.
    """
    from dvfo_env.workloads.cuts import crossing_tensors, execution_order
    from dvfo_env.workloads.from_onnx import trace_onnx
    from dvfo_env.workloads.graph import Graph

    trace = trace_onnx(model, (1, *card.input_shape), "input")
    graph = Graph(
        name=card.name,
        title=card.title,
        source=card.source,
        input_name=trace.input_name,
        input_shape=trace.input_shape,
        operations=trace.merged.operations,
        blocks={},
        outputs=trace.merged.outputs,
        answer_bytes=0,
        answer_note="",
    )
    order = execution_order(graph)
    network = network or Network(Path(model).read_bytes(), (1, *card.input_shape))
    tensor_of = {trace.input_name: trace.input_tensor, **trace.merged.tensor_of}
    if card.cuts[-1].position != len(order):
        raise SplitError(
            f"{model}: has {len(order)} operations, the card {card.name!r} has {card.cuts[-1].position}"
        )
    cuts = []
    for cut in card.cuts:
        names = crossing_tensors(graph, order, cut.position)
        if cut.tensors and [prod(graph.shapes[name]) for name in names] != [
            prod(t.shape) for t in cut.tensors
        ]:
            raise SplitError(f"{model}: cut {cut.name!r}: the card {card.name!r} has other tensors there")
        done = {operation.name for operation in order[: cut.position]}
        answers = [tensor for tensor, operation in trace.merged.answers if operation in done]
        tensors = [tensor_of[name] for name in names] if cut.tensors else []
        cuts.append(network.cut(tensors, answers, cut.name))
    return tuple(cuts)


def calibrated(
    engine: Engine, cut: Cut, images: Sequence[NDArray[Any]], bits: Sequence[int]
) -> list[ChannelCalibration]:
    """Calibrations of what crosses a cut: channels by magnitude, ranges by least squares.

    A dropped channel becomes its mean or zero, whichever keeps the outputs closer (softmax over all of them).
    """
    import torch

    from dvfo_env.accuracy.importance.calibrate import calibrate
    from dvfo_env.accuracy.importance.features import CutFeatures

    shapes = [codec_shape(spec.shape) for spec in engine.tensors(cut)]
    specs = engine.tensors(cut)

    def tail(batch: Sequence[torch.Tensor]) -> torch.Tensor:
        rows = []
        for i in range(len(batch[0])):
            tensors = [part[i].numpy().reshape(spec.shape) for part, spec in zip(batch, specs, strict=True)]
            outputs = engine.run_tail(cut, tensors, Mapping())
            rows.append(np.concatenate([value.reshape(-1).astype(np.float32) for value in outputs.values()]))
        return torch.from_numpy(np.stack(rows))

    heads = [[value.copy() for value in engine.run_head(cut, image)] for image in images]
    tensors = tuple(
        torch.from_numpy(np.stack([head[i].reshape(shape).astype(np.float32) for head in heads]))
        for i, shape in enumerate(shapes)
    )
    return calibrate(CutFeatures(cut.name, tensors, tail, tail(tensors)), "magnitude", bits)


def smooth_images(shape: Sequence[int], count: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Random inputs float32 [1, *shape] about as smooth as photographs: noise at several scales, mean 0.

    Each scale is twice as coarse and twice as strong as the one before, which gives the falling spectrum of
    natural images (amplitude about one over frequency; Field, 1987, doi:10.1364/JOSAA.4.002379).
    """
    random = np.random.Generator(np.random.PCG64(seed))
    images = []
    for _ in range(count):
        image = np.zeros(tuple(shape), np.float32)
        scale = 1
        while scale <= max(1, min(shape[-2:]) // 2 if len(shape) > 1 else 1):
            coarse = [-(-size // scale) for size in shape[-2:]] if len(shape) > 1 else list(shape)
            noise = random.standard_normal((*shape[:-2], *coarse) if len(shape) > 1 else tuple(shape))
            if len(shape) > 1:
                noise = noise.repeat(scale, axis=-2).repeat(scale, axis=-1)
                noise = noise[..., : shape[-2], : shape[-1]]
            image += (scale * noise).astype(np.float32)
            scale *= 2
        images.append((image / image.std())[None].astype(np.float32))
    return images
