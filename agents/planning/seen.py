"""A compiled scenario as code shared with devices takes it: layout of observations, numbers, cost tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import CostModel, Numbers
from dvfo_controller.policies.layout import Layout
from dvfo_env import observation as o
from dvfo_env.tables import CostTables


class _Scaled(NamedTuple):
    name: str
    zero: float = 0.0
    span: float = 1.0


_SCALES = {
    "rate_last": (o.RATE_CENTRE_LOG2, o.RATE_SPAN_LOG2),
    "rate_before": (o.RATE_CENTRE_LOG2, o.RATE_SPAN_LOG2),
    "rate_smooth": (o.RATE_CENTRE_LOG2, o.RATE_SPAN_LOG2),
    "silence": (0.0, o.SILENCE_MS),
    "answer_age": (0.0, o.SILENCE_MS),
    "rtt": (0.0, o.RTT_SPAN_LOG2),
    "server_factor": (0.0, o.SERVER_SPAN_LOG2),
    "timeouts": (0.0, o.TIMEOUT_SPAN),
    "unanswered": (0.0, o.TIMEOUT_SPAN),
    "temperature": (o.TEMPERATURE_LOW_C, o.TEMPERATURE_SPAN_C),
}
#: Columns and scales of the environment's observation, as far as they are the same in every scenario.
LAYOUT = Layout([_Scaled(f.name, *_SCALES.get(f.name, ())) for f in o.FEATURES])


def silence_ms(observations: NDArray[np.float32]) -> NDArray[np.float64]:
    """Time since the last transfer, ms [N]; infinity before the first."""
    return LAYOUT.age_ms(observations, "silence")


def numbers_of(tables: CostTables) -> Numbers:
    """The scalars of a compiled scenario."""
    return Numbers.of(tables.params[0])


def cost_model(tables: CostTables) -> CostModel:
    """Its tables and scalars."""
    return CostModel.of({name: getattr(tables, name) for name in CostModel.ARRAYS}, numbers_of(tables))


def kilobits_of(tables: CostTables) -> NDArray[np.float64]:
    """What each cut and level send, float64 [K, Z]."""
    return tables.send[:, :, 0].astype(np.float64)
