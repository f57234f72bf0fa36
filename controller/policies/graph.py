"""Policies that are one ONNX graph: stacked observations in, joint-action indices out, nothing in between.

The graph holds the whole decision: float64 arithmetic of the networks, the largest score of every part (or
the cell of every axis), and the parts that are pinned. What is remembered, the observations of earlier
requests, is an input and kept here.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dvfo_controller.bundle import PARTS, Bundle
from dvfo_controller.policies.sessions import one_line, open_session
from dvfo_env.errors import ActionError, BundleError

MODEL = "policy.onnx"
INPUT, OUTPUT = "observations", "action"


class GraphPolicy:
    """A `DevicePolicy` that runs `policy.onnx` with input and output bound once."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        features: int,
        history: int,
        sizes: tuple[int, ...],
    ) -> None:
        self._features = features
        self._top = np.array(sizes, dtype=np.uint64) - 1
        self._stacked = np.zeros((1, features * history), dtype=np.float32)
        self._action = np.zeros(len(PARTS), dtype=np.int64)
        self._unsigned = self._action.view(np.uint64)  # below 0 is far above the highest index
        self._begun = False
        self._session = session
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, onnxruntime.OrtValue.ortvalue_from_numpy(self._stacked))
        self._binding.bind_ortvalue_output(OUTPUT, onnxruntime.OrtValue.ortvalue_from_numpy(self._action))
        self._run()  # the first run is slow: not while a request waits

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite, or the graph decides on what is
                not there.
        """
        size, row = self._features, self._stacked[0]
        if observation.shape != (size,) or not np.isfinite(observation).all():
            raise ActionError(f"observation: expected {size} finite numbers, found {observation}")
        if not self._begun:
            row.reshape(-1, size)[:] = observation
            self._begun = True
        else:
            row[size:] = row[:-size].copy()  # newest first
            row[:size] = observation
        self._run()
        if (self._unsigned > self._top).any():
            raise ActionError(f"policy: decided on {self._action.tolist()}: highest are {self._top.tolist()}")
        return self._action.copy()

    def _run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ActionError(f"policy: {one_line(error)}") from None

    def reset(self) -> None:
        """Forget the observations of earlier requests."""
        self._begun = False


def open(bundle: Bundle) -> GraphPolicy:
    """The policy of a bundle of kind graph.

    Raises:
        BundleError: the settings or the graph do not fit the observation and the action.
    """
    history = bundle.manifest.policy.settings.get("history")
    features = len(bundle.manifest.observation)
    if type(history) is not int or not 1 <= history <= 1024:
        raise BundleError(f"{bundle.path}: policy: settings: history: expected 1..1024, found {history!r}")
    session = open_session(bundle, MODEL)
    expected = [(INPUT, "tensor(float)", [1, features * history]), (OUTPUT, "tensor(int64)", [len(PARTS)])]
    found = [(t.name, t.type, t.shape) for t in (*session.get_inputs(), *session.get_outputs())]
    if found != expected:
        raise BundleError(f"{bundle.path / MODEL}: has {found}, a policy has {expected}")
    try:
        return GraphPolicy(session, features, history, bundle.manifest.action.sizes)
    except ActionError as error:
        raise BundleError(f"{bundle.path / MODEL}: does not run: {error}") from None
