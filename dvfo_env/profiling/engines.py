"""Running a network whole and segment by segment: with torch, and with onnxruntime."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvfo_env.errors import MeasurementError

if TYPE_CHECKING:
    from dvfo_env.profiling.plan import Network

#: Weights and inputs are random but the same everywhere.
SEED = 0


@dataclass(frozen=True)
class Runner:
    """A network ready to run.

    Calling `whole` runs all of it on the example input; calling the segments in order does the same, each
    handing its tensors to the next. `finish` waits until the device is done (a GPU answers before it is).
    """

    whole: Callable[[], object]
    segments: Sequence[Callable[[], object]]
    finish: Callable[[], None]


def torch_module(source: str) -> Any:
    """The torch module behind a network's source, in evaluation mode.

    Raises:
        MeasurementError: the source names no torch network.
    """
    kind, _, name = source.partition(":")
    if kind == "shipped":
        from dvfo_env.workloads.networks import build_network

        return build_network(name)
    if kind == "onnx":
        raise MeasurementError(f"{name}: torch does not run ONNX files; use --engine onnxruntime")
    try:
        return getattr(importlib.import_module(kind), name)().eval()
    except (ImportError, AttributeError) as error:
        raise MeasurementError(f"{source}: no such module or function: {error}") from None


def torch_runner(network: Network, threads: int, gpu: bool) -> Runner:
    """Run a network by torch, eagerly, as it comes: fp32, batch 1, no compilation."""
    import torch

    from dvfo_env.workloads.segments import split_module

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    generator = torch.Generator().manual_seed(SEED)
    example = torch.rand(1, *network.input_shape, generator=generator)
    model = torch_module(network.source)
    if gpu:
        model, example = model.to("cuda"), example.to("cuda")
    pieces = split_module(model, example, network.positions)
    crossing: list[Any] = [(example,)] + [None] * len(pieces)

    def segment(index: int) -> Callable[[], object]:
        piece = pieces[index]
        outputs = len(piece.outputs)

        def run() -> None:
            crossing[index + 1] = piece(*crossing[index])[:outputs]  # answers come behind what crosses

        return run

    finish: Callable[[], None] = torch.cuda.synchronize if gpu else _nothing
    return Runner(lambda: model(example), [segment(index) for index in range(len(pieces))], finish)


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


def onnx_files(network: Network, folder: Path) -> tuple[Path, ...]:
    """Write the whole network and each of its segments as ONNX files; the whole one comes first.

    Raises:
        MeasurementError: it cannot be exported or split.
    """
    import onnx

    from dvfo_env.workloads.segments import split_onnx

    whole = export_onnx(network, folder)
    paths = [whole]
    for index, model in enumerate(split_onnx(whole, network.positions)):
        path = folder / f"segment-{index:03d}.onnx"
        onnx.save(model, str(path))
        paths.append(path)
    return tuple(paths)


def onnx_runner(paths: Sequence[Path], input_shape: tuple[int, ...], threads: int, gpu: bool) -> Runner:
    """Run ONNX files by onnxruntime with its default optimisations; all sessions share one pool of threads.

    With a pool for each session the threads of the last segment would still spin while the next one runs.
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
    sessions = [onnxruntime.InferenceSession(str(path), options, providers=[provider]) for path in paths]
    whole, *pieces = sessions
    example = np.random.default_rng(SEED).random((1, *input_shape), dtype=np.float32)
    image = onnxruntime.OrtValue.ortvalue_from_numpy(example)
    buffers = (_Buffer(), _Buffer())
    crossing = {pieces[0].get_inputs()[0].name: image}
    runs = []
    for index, session in enumerate(pieces):
        run, crossing = _bound(session, crossing, buffers[index % 2])
        runs.append(run)
    run_whole, _ = _bound(whole, {whole.get_inputs()[0].name: image}, _Buffer())
    return Runner(run_whole, runs, _nothing)


def _share_memory(onnxruntime: Any, options: Any) -> None:
    """Let all sessions take working memory from one arena, as the parts of one network do.

    With an arena each, every segment would work in memory that the caches have not seen since the last pass.
    """
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
    options.add_session_config_entry("session.use_env_allocators", "1")


class _Buffer:
    """Memory for the tensors that cross one cut, used again at the cut after the next."""

    def __init__(self) -> None:
        self._bytes: Any = None

    def values_like(self, arrays: Sequence[Any]) -> list[Any]:
        """One tensor in this memory for each array, holding what it holds."""
        import numpy as np
        import onnxruntime

        needed = sum(_aligned(array.nbytes) for array in arrays)
        if self._bytes is None or self._bytes.nbytes < needed:  # what older tensors lie in stays theirs
            self._bytes = np.zeros(needed, dtype=np.uint8)
        values, begin = [], 0
        for array in arrays:
            view = self._bytes[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
            view[...] = array
            values.append(onnxruntime.OrtValue.ortvalue_from_numpy(view))
            begin += _aligned(array.nbytes)
        return values


def _aligned(size: int) -> int:
    return -(-size // 64) * 64


def _bound(
    session: Any, inputs: dict[str, Any], buffer: _Buffer
) -> tuple[Callable[[], object], dict[str, Any]]:
    """A call that runs a session between fixed buffers, and its outputs by name.

    Without fixed buffers every run would copy its outputs into fresh memory, a cost of the language and not
    of the network that grows with the number of cuts.
    """
    names = [tensor.name for tensor in session.get_outputs()]
    wanted = [tensor.name for tensor in session.get_inputs()]
    results = session.run(names, {name: inputs[name].numpy() for name in wanted})
    outputs = dict(zip(names, buffer.values_like(results), strict=True))
    binding = session.io_binding()
    for name in wanted:
        binding.bind_ortvalue_input(name, inputs[name])
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)

    def run() -> None:
        session.run_with_iobinding(binding)

    return run, outputs


def _nothing() -> None:
    """A CPU is done when the call returns."""
