"""Running a network whole and cut in two, by onnxruntime: the files it reads, and sessions on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dvfo_env.errors import MeasurementError
from dvfo_env.profiling.engines import SEED, Call, Runner, nothing, torch_module

if TYPE_CHECKING:
    import onnx

    from dvfo_env.profiling.plan import Network

#: Sessions of heads and tails that a worker keeps hold weights of at most this share of the memory.
HELD_SHARE = 1 / 16

#: Where weights begin in their file, bytes: pages, so that they can be mapped.
_PAGE_BYTES = 4096

#: Weights below this size stay in the model file.
_SMALL_BYTES = 1024

_WEIGHTS = "weights.bin"


def export_onnx(network: Network, folder: Path) -> Path:
    """The network as one ONNX file in `folder`, exported from torch unless its source is one already.

    Raises:
        MeasurementError: it cannot be exported.
    """
    if network.source.startswith("onnx:"):
        return Path(network.source.removeprefix("onnx:"))
    import warnings

    import torch

    path = folder / f"{network.name}.onnx"
    example = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(SEED))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's own use of what torch has deprecated
            torch.onnx.export(torch_module(network.source), (example,), str(path), dynamo=True, verbose=False)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise MeasurementError(f"{network.name}: cannot be exported to ONNX: {error!s:.200}") from None
    return path


def write_models(network: Network, folder: Path) -> Path:
    """Write head and tail of every inner cut into `folder`; the path of the whole network.

    Their weights lie once in a file of their own, which all of them read.

    Raises:
        MeasurementError: it cannot be exported or split.
    """
    import onnx

    from dvfo_env.workloads.segments import split_onnx

    whole = export_onnx(network, folder)
    segments = split_onnx(whole, network.positions)
    with (folder / _WEIGHTS).open("wb") as weights:
        stored: dict[str, onnx.TensorProto] = {}
        for segment in segments:
            _store_weights(segment.graph, weights, stored)
    for cut in range(1, len(segments)):
        for path, part in zip(_files(folder, cut), (segments[:cut], segments[cut:]), strict=True):
            onnx.save(_joined(part), str(path))
    return whole


def _files(folder: Path, cut: int) -> tuple[Path, Path]:
    """Files of the head and the tail at an inner cut."""
    return folder / f"head-{cut:03d}.onnx", folder / f"tail-{cut:03d}.onnx"


def _store_weights(graph: onnx.GraphProto, file: BinaryIO, stored: dict[str, onnx.TensorProto]) -> None:
    """Put a graph's weights into the file, those already `stored` excepted, and let the graph refer to it."""
    from onnx import external_data_helper, numpy_helper

    for tensor in graph.initializer:
        if tensor.name not in stored:
            values = numpy_helper.to_array(tensor)
            stored[tensor.name] = numpy_helper.from_array(values, tensor.name)
            if values.nbytes >= _SMALL_BYTES:
                file.seek(-file.tell() % _PAGE_BYTES, os.SEEK_CUR)
                external_data_helper.set_external_data(
                    stored[tensor.name], _WEIGHTS, offset=file.tell(), length=values.nbytes
                )
                file.write(stored[tensor.name].raw_data)
                stored[tensor.name].ClearField("raw_data")
        tensor.CopyFrom(stored[tensor.name])


def _joined(segments: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    """Consecutive segments as one model: what crosses the cuts between them becomes internal."""
    import onnx

    nodes = {node.output[0]: node for segment in segments for node in segment.graph.node}
    weights = {tensor.name: tensor for segment in segments for tensor in segment.graph.initializer}
    handed_on = {tensor.name for segment in segments[1:] for tensor in segment.graph.input}
    given = {tensor.name: tensor for tensor in segments[-1].graph.output}
    for segment in segments[:-1]:  # an answer complete before the end is part of the work
        given |= {tensor.name: tensor for tensor in segment.graph.output if tensor.name not in handed_on}
    model = onnx.ModelProto()
    model.CopyFrom(segments[0])
    graph = onnx.helper.make_graph(
        list(nodes.values()),
        f"{segments[0].graph.name} on",
        list(segments[0].graph.input),
        list(given.values()),
        list(weights.values()),
    )
    model.graph.CopyFrom(graph)
    return model


def onnx_runner(whole: Path, folder: Path, network: Network, threads: int, gpu: bool) -> Runner:
    """Run the files of `write_models` by onnxruntime with its default optimisations.

    Head and tail are one session each, made when they are asked for and kept while their weights fit into
    `HELD_SHARE` of the memory. All sessions share one pool of threads and one arena of working memory: with a
    pool each, the threads of one session would still spin while the next one runs.
    """
    import numpy as np
    import onnxruntime

    onnxruntime.set_global_thread_pool_sizes(threads, 1)
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    options.log_severity_level = 3
    if not gpu:
        _share_memory(onnxruntime, options)
    provider = "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"
    example = np.random.default_rng(SEED).random((1, *network.input_shape), dtype=np.float32)
    image = onnxruntime.OrtValue.ortvalue_from_numpy(example)

    def bound(path: Path, inputs: Mapping[str, Any] | None = None) -> tuple[Call, dict[str, Any]]:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        return _bound(onnxruntime, session, inputs or {session.get_inputs()[0].name: image})

    @lru_cache(maxsize=_held(folder / _WEIGHTS))
    def cut_in_two(cut: int) -> tuple[Call, Call]:
        head_file, tail_file = _files(folder, cut)
        head, crossing = bound(head_file)
        tail, _ = bound(tail_file, crossing)
        return head, tail

    run_whole, _ = bound(whole)
    return Runner(run_whole, len(network.segments) - 1, cut_in_two, nothing)


def _held(weights: Path) -> int:
    """How many pairs of head and tail are kept; one pair holds every weight once."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, int(HELD_SHARE * memory / max(1, weights.stat().st_size)))


def _share_memory(onnxruntime: Any, options: Any) -> None:
    """Let all sessions take working memory from one arena, as one session does again and again.

    With an arena each, every piece would work in memory that the caches have not seen since its last pass.
    """
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
    options.add_session_config_entry("session.use_env_allocators", "1")


def _bound(
    onnxruntime: Any, session: Any, inputs: Mapping[str, Any]
) -> tuple[Callable[[], object], dict[str, Any]]:
    """A call that runs a session between fixed buffers, and its outputs by name, as one run left them.

    Without fixed buffers every run would copy its outputs into fresh memory: a cost of the language.
    """
    names = [tensor.name for tensor in session.get_outputs()]
    wanted = [tensor.name for tensor in session.get_inputs()]
    results = session.run(names, {name: inputs[name].numpy() for name in wanted})
    outputs = {}
    binding = session.io_binding()
    for name in wanted:
        binding.bind_ortvalue_input(name, inputs[name])
    for name, result in zip(names, results, strict=True):
        outputs[name] = onnxruntime.OrtValue.ortvalue_from_shape_and_type(result.shape, result.dtype)
        binding.bind_ortvalue_output(name, outputs[name])

    def run() -> None:
        session.run_with_iobinding(binding)

    run()
    return run, outputs
