"""Running a network whole or cut in two by onnxruntime, with threads and cores chosen for each run."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from dvfo_controller.split.cutting import Array, Cut, Network, TensorSpec
from dvfo_env.errors import SplitError

if TYPE_CHECKING:
    from dvfo_controller.split.plan import SplitPlan

#: Sessions that are kept, and the share of the machine's memory that their weights may take; of more, those
#: that were used longest ago go. Each has a copy of its own part's weights: onnxruntime rearranges them for
#: its kernels and shares none of that between sessions (measured with 1.31: 14 MiB a session of MobileNetV2,
#: as much with `SessionOptions.add_initializer` as without).
MOST_SESSIONS = 256
HELD_SHARE = 1 / 8

Part = Literal["head", "tail"]
_ARENA = threading.Lock()
_arena_made = False


@dataclass(frozen=True)
class Mapping:
    """Where a network runs on this machine: how many threads, on which cores (none named: on any)."""

    threads: int = 1
    cpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.threads < 1 or (self.cpus and len(self.cpus) < self.threads):
            raise SplitError(f"mapping: {self.threads} threads on cores {self.cpus or 'any'}")


class Head(NamedTuple):
    """What a head made: the tensors that cross its cut, and the outputs that are complete."""

    tensors: list[Array]
    answers: dict[str, Array]


class Engine:
    """A network that runs whole or in two parts at any cut, under any mapping.

    Args:
        model: the ONNX file's bytes, or the network they make.
        plan: names of cuts and how an image of bytes is scaled; without one, cuts are named by their tensors.
        most_sessions: onnxruntime sessions kept at once, at least 3.

    A session is made at its first use, or before by `prepare`. What a run returns lies in the session's own
    buffers: it holds until the next run of the same part at the same cut and mapping. May be used by several
    threads.
    """

    def __init__(
        self, model: bytes | Network, plan: SplitPlan | None = None, most_sessions: int = MOST_SESSIONS
    ) -> None:
        self.network = model if isinstance(model, Network) else Network(model)
        self.plan = plan
        if plan is not None:
            plan.check(self.network)
        self._cuts: dict[object, Cut] = {cut.name: cut for cut in (plan.cuts if plan is not None else ())}
        self._specs = self.network.tensors
        self._sessions: OrderedDict[object, Future[Session]] = OrderedDict()
        self._unmade: dict[object, Callable[[], Session]] = {}
        self._sizes: dict[object, int] = {}
        self._most = most_sessions
        self._most_bytes = int(HELD_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        self._lock = threading.Lock()
        self._maker = ThreadPoolExecutor(1, "dvfo-sessions")
        self._cpus = os.sched_getaffinity(0)

    def cut(self, where: str | Sequence[str] | Cut) -> Cut:
        """The cut of a name in the plan, of one tensor's name, or of several tensors' names.

        Raises:
            SplitError: there is none.
        """
        if isinstance(where, Cut):
            return where
        key = where if isinstance(where, str) else tuple(where)
        found = self._cuts.get(key)
        if found is None:
            if isinstance(key, str):
                found = self.network.cut((key,), name=key)
            else:
                found = self.network.cut(key) if key else self.network.last
            self._cuts[key] = found
        return found

    def tensors(self, cut: Cut) -> tuple[TensorSpec, ...]:
        """What crosses a cut."""
        return tuple(self._specs[name] for name in cut.tensors)

    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs."""
        return tuple(self._specs[name] for name in self.network.outputs)

    def prepare(
        self,
        cut: str | Sequence[str] | Cut,
        mapping: Mapping | None = None,
        parts: Iterable[Part] = ("head", "tail"),
    ) -> list[Future[Session]]:
        """Make sessions in the background; the futures tell when they are there."""
        found = self.cut(cut)
        return [self._future(part, found, mapping or Mapping(), background=True) for part in parts]

    def run_head(
        self, cut: str | Sequence[str] | Cut, image: Array, mapping: Mapping | None = None
    ) -> list[Array]:
        """The tensors that cross the cut, with their batch dimension; see `head` for the outputs done."""
        return self.head(cut, image, mapping).tensors

    def head(self, cut: str | Sequence[str] | Cut, image: Array, mapping: Mapping | None = None) -> Head:
        """Run what comes before a cut.

        image: the model's input with or without its batch dimension, or uint8 [H, W, C] where a plan says how
        to scale it. Raises SplitError when it fits neither.
        """
        found = self.cut(cut)
        value = self.input(image)
        made = {self.network.input: value}
        if found.tensors != (self.network.input,):
            made |= self._run("head", found, {self.network.input: value}, mapping)
        return Head([made[name] for name in found.tensors], {name: made[name] for name in found.answers})

    def run_tail(
        self, cut: str | Sequence[str] | Cut, tensors: Sequence[Array], mapping: Mapping | None = None
    ) -> dict[str, Array]:
        """The outputs that are made after a cut, by name."""
        found = self.cut(cut)
        if not found.tensors:
            return {}
        given = {
            spec.name: np.ascontiguousarray(value, spec.dtype).reshape(spec.shape)
            for spec, value in zip(self.tensors(found), tensors, strict=True)
        }
        return self._run("tail", found, given, mapping)

    def run_whole(self, image: Array, mapping: Mapping | None = None) -> list[Array]:
        """All outputs, in the model's order."""
        return self.in_order(self.head(self.network.last, image, mapping).answers)

    def in_order(self, outputs: dict[str, Array]) -> list[Array]:
        """Copies of the outputs in the model's order."""
        return [outputs[name].copy() for name in self.network.outputs]

    def input(self, image: Array) -> Array:
        """An image as the model takes it. Raises SplitError when it does not fit."""
        spec = self._specs[self.network.input]
        if image.dtype == np.uint8 and spec.dtype != np.uint8:
            if self.plan is None or self.plan.scaling is None:
                raise SplitError("image: bytes need a plan that says how they are scaled")
            image = self.plan.scaling.apply(image)
        if image.shape == spec.shape[1:]:
            image = image[None]
        if image.shape != spec.shape or image.dtype != spec.dtype:
            raise SplitError(
                f"image: {image.dtype} {image.shape} instead of the model's {spec.dtype} {spec.shape}"
            )
        return np.ascontiguousarray(image)

    def close(self) -> None:
        """End the background thread."""
        self._maker.shutdown(wait=False, cancel_futures=True)

    def _run(
        self, part: Part, cut: Cut, given: dict[str, Array], mapping: Mapping | None
    ) -> dict[str, Array]:
        mapping = mapping or Mapping()
        session = self._future(part, cut, mapping, background=False).result()
        # of several threads the calling one is the first: on a core of its own, like the others
        pin((mapping.cpus[:1] if mapping.threads > 1 else mapping.cpus) or self._cpus)
        return session.run(given)

    def _future(self, part: Part, cut: Cut, mapping: Mapping, background: bool) -> Future[Session]:
        network = self.network
        if cut.tensors == (network.input,) or not cut.tensors:  # head of the last cut, tail of the first
            part, cut = "head", network.last
        key = (part, cut.key, mapping)

        def make() -> Session:
            if cut.tensors:
                model = network.head(cut) if part == "head" else network.tail(cut)
            else:
                model = network.whole()
            self._make_room(key, len(model))
            pin(self._cpus)
            return Session(model, mapping)

        with self._lock:
            future = self._sessions.get(key)
            if future is None or (future.done() and future.exception() is not None):
                future = self._sessions[key] = Future()
                self._unmade[key] = make
            self._sessions.move_to_end(key)
        if background:
            self._maker.submit(self._fulfil, key, future)
        else:
            self._fulfil(key, future)
        return future

    def _fulfil(self, key: object, future: Future[Session]) -> None:
        """Make a session, unless somebody else has begun to."""
        with self._lock:
            make = self._unmade.pop(key, None)
        if make is None:
            return
        try:
            made = make()
        except Exception as error:  # onnxruntime raises types of its own; whoever waits gets it
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            future.set_exception(error if isinstance(error, SplitError) else SplitError(f"model: {reason}"))
        else:
            future.set_result(made)

    def _make_room(self, key: object, size: int) -> None:
        """Forget the sessions used longest ago, so that one more of so many bytes can be held."""
        with self._lock:
            self._sizes = {known: self._sizes.get(known, 0) for known in self._sessions} | {key: size}
            while len(self._sessions) > 3 and (
                len(self._sessions) > self._most or sum(self._sizes.values()) > self._most_bytes
            ):
                oldest, _ = self._sessions.popitem(last=False)
                self._sizes.pop(oldest, None)


class Session:
    """An onnxruntime session between fixed buffers.

    Without fixed buffers every run would copy its outputs into fresh memory.
    """

    def __init__(self, model: bytes, mapping: Mapping) -> None:
        import onnxruntime

        _share_arena(onnxruntime)
        self._session = onnxruntime.InferenceSession(
            model, session_options(onnxruntime, mapping), providers=["CPUExecutionProvider"]
        )
        self._make = onnxruntime.OrtValue.ortvalue_from_numpy
        self._names = [entry.name for entry in self._session.get_outputs()]
        zeros = {
            entry.name: np.zeros(entry.shape, _numpy_dtype(entry.type))
            for entry in self._session.get_inputs()
        }
        first = self._session.run(self._names, zeros)
        self._outputs = dict(zip(self._names, (np.array(value, order="C") for value in first), strict=True))
        self._binding = self._session.io_binding()
        self._held = {name: self._make(value) for name, value in self._outputs.items()}
        for name, value in self._held.items():
            self._binding.bind_ortvalue_output(name, value)
        self._lock = threading.Lock()

    def run(self, given: dict[str, Array]) -> dict[str, Array]:
        """Outputs by name, in buffers that the next run overwrites."""
        with self._lock:
            values = {name: self._make(value) for name, value in given.items()}
            for name, value in values.items():
                self._binding.bind_ortvalue_input(name, value)
            self._session.run_with_iobinding(self._binding)
            self._binding.clear_binding_inputs()
        return dict(self._outputs)


def session_options(onnxruntime: Any, mapping: Mapping) -> Any:
    """Options of a session under a mapping.

    Threads stop spinning when a run ends: with a pool for each session they would otherwise still spin while
    the next part runs.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = mapping.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if mapping.cpus and mapping.threads > 1:  # the calling thread is the first of them; numbers begin at 1
        rest = (mapping.cpus[i % len(mapping.cpus)] + 1 for i in range(1, mapping.threads))
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(map(str, rest)))
    return options


def pin(cpus: Iterable[int]) -> None:
    """Let the calling thread run on these cores. Raises SplitError when the machine has none of them."""
    wanted = set(cpus)
    if os.sched_getaffinity(0) == wanted:
        return
    try:
        os.sched_setaffinity(0, wanted)
    except OSError:
        raise SplitError(f"mapping: cores {sorted(wanted)}: this process may use none of them") from None


def _share_arena(onnxruntime: Any) -> None:
    """Let all sessions take working memory from one arena, as one session does again and again."""
    global _arena_made
    with _ARENA:
        if not _arena_made:
            kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
            memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
            onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
            _arena_made = True


def _numpy_dtype(name: str) -> np.dtype[Any]:
    """Dtype in numpy of onnxruntime's `tensor(float)`."""
    word = name.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(word, word))
