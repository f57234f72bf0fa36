"""onnxruntime sessions of a bundle's models: checked first, one thread, nothing printed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_controller.onnx_file import check_onnx
from dvfo_env.errors import BundleError

_ERRORS_ONLY = 3


def open_session(bundle: Bundle, name: str) -> onnxruntime.InferenceSession:
    """A session of one of the bundle's ONNX files.

    Raises:
        BundleError: the file holds more than arithmetic on its own constants, or does not run.
    """
    data = bundle.file(name)
    where = str(bundle.path / name)
    check_onnx(data, where)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base
        raise BundleError(f"{where}: onnxruntime does not load it: {one_line(error)}") from None


def read_tables(bundle: Bundle, name: str = "tables.onnx") -> dict[str, NDArray[Any]]:
    """The arrays of a model without inputs, by the names of its outputs.

    Raises:
        BundleError: as `open_session`, or the model has inputs.
    """
    session = open_session(bundle, name)
    if session.get_inputs():
        raise BundleError(f"{bundle.path / name}: has inputs: it holds no tables")
    names = [output.name for output in session.get_outputs()]
    try:
        arrays = session.run(names, {})
    except Exception as error:
        raise BundleError(f"{bundle.path / name}: does not run: {one_line(error)}") from None
    return {key: np.asarray(value, order="C") for key, value in zip(names, arrays, strict=True)}


def one_line(error: Exception) -> str:
    """What an exception says, on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
