"""Planners in a bundle: arrays of `tables.onnx` and records of the manifest's settings, both checked.

What a training side puts in by `pack_*`, a device gets back by `unpack_*`; `Packed` holds both parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import PARTS, Bundle
from dvfo_controller.policies.analogues import BINS, Metric, NearMoments
from dvfo_controller.policies.belief import LAGS_MS, Belief, Regression
from dvfo_controller.policies.cost_model import LOST, CostModel, Numbers
from dvfo_controller.policies.layout import Layout
from dvfo_controller.policies.memory import LateAnswers
from dvfo_controller.policies.present import Present
from dvfo_controller.policies.sessions import read_tables
from dvfo_controller.records import read_record
from dvfo_env.errors import ActionError, BundleError

TABLES = "tables.onnx"
T = TypeVar("T")
_MOST_NEAREST = 4096


@dataclass(frozen=True)
class BeliefNumbers:
    """What of a `Belief` is no array."""

    last_weight: float
    rtt_mean_ms: float
    rtt_low_ms: float
    factor_mean: float
    factor_low: float


@dataclass(frozen=True)
class MomentsNumbers:
    """What of `NearMoments` is no array."""

    nearest: int
    before: float
    smooth: float
    silence: float
    timeouts: float


@dataclass(frozen=True)
class PresentNumbers:
    """What of a `Present` is no array; `moments` None: rates come from the belief."""

    belief: BeliefNumbers
    moments: MomentsNumbers | None
    late_step_ms: float
    usual_rtt_ms: float
    recent_ms: float


class Arrays:
    """The arrays of a bundle's tables; taking one checks its type and shape."""

    def __init__(self, bundle: Bundle) -> None:
        self._where = str(bundle.path / TABLES)
        self._arrays = read_tables(bundle, TABLES)

    def take(self, name: str, kind: type[np.generic], *shape: int | None) -> NDArray[Any]:
        """An array by name; None stands for any length.

        Raises:
            BundleError: it is missing, of another type or shape, or not finite.
        """
        array = self._arrays.get(name)
        if array is None:
            raise BundleError(f"{self._where}: has no table {name!r}")
        fits = len(array.shape) == len(shape) and all(
            want is None or n == want for n, want in zip(array.shape, shape, strict=True)
        )
        if array.dtype != kind or not fits:
            wanted = [n if n is not None else "any" for n in shape]
            raise BundleError(
                f"{self._where}: {name}: is {array.dtype} {list(array.shape)}, "
                f"expected {np.dtype(kind)} {wanted}"
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{self._where}: {name}: is not finite")
        return array

    def indices(self, name: str, end: int, *shape: int | None) -> NDArray[np.int64]:
        """An int32 array of numbers from 0 to below `end`, as int64.

        Raises:
            BundleError: as `take`, or a number is beyond.
        """
        array = self.take(name, np.int32, *shape)
        if array.size and not 0 <= array.min() <= array.max() < end:
            raise BundleError(f"{self._where}: {name}: holds numbers beyond 0..{end - 1}")
        return array.astype(np.int64)


def settings_of(bundle: Bundle, kind: type[T]) -> T:
    """The settings of a bundle's policy as a record.

    Raises:
        BundleError: a field is missing, unknown or of another type.
    """
    return read_record(kind, bundle.manifest.policy.settings, f"{bundle.path}: policy: settings")


def layout_of(bundle: Bundle) -> Layout:
    """The layout of the bundle's observations."""
    return Layout(bundle.manifest.observation)


def one_row(observation: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """An observation as a batch of one, float32 [1, features].

    Raises:
        ActionError: it has another shape or is not finite.
    """
    if observation.shape != (size,) or not np.isfinite(observation).all():
        raise ActionError(f"observation: expected {size} finite numbers, found {observation}")
    return np.asarray(observation[None], dtype=np.float32)


def pack_cost_model(model: CostModel) -> dict[str, NDArray[Any]]:
    """Its arrays, but for what planners do not read: energy that does not count."""
    arrays = {name: getattr(model, name) for name in CostModel.ARRAYS}
    counted = {"head": 2, "idle": 1, "codec": 1}
    return {name: np.ascontiguousarray(a[..., : counted.get(name)]) for name, a in arrays.items()}


def unpack_cost_model(bundle: Bundle, arrays: Arrays, numbers: Numbers) -> CostModel:
    """The cost model of a bundle.

    Raises:
        BundleError: its arrays do not fit the bundle's actions.
    """
    cuts, mappings, *clocks, levels = bundle.manifest.action.sizes
    columns = LOST + max(bundle.manifest.difficulty_classes, 1)
    send = arrays.take("send", np.float32, cuts, levels, None)
    where = f"{bundle.path / TABLES}"
    if send.shape[2] < columns:
        raise BundleError(f"{where}: send: has {send.shape[2]} columns, expected {columns} or more")
    ghz = arrays.take("cpu_ghz", np.float32, clocks[0])
    if not (ghz > 0.0).all():
        raise BundleError(f"{where}: cpu_ghz: is not above zero")
    check_numbers(numbers, f"{bundle.path}: policy: settings: numbers")
    return CostModel(
        head=arrays.take("head", np.float32, mappings, cuts, *clocks, 2),
        idle=arrays.take("idle", np.float32, *clocks, 1),
        codec=arrays.take("codec", np.float32, *clocks, 1),
        send=send,
        tail_ms=arrays.take("tail_ms", np.float32, cuts),
        cpu_ghz=ghz,
        numbers=numbers,
    )


def check_numbers(p: Numbers, where: str) -> None:
    """Refuse numbers that a decision could not be made with.

    Raises:
        BundleError: names the field.
    """
    trips = [len(part) for part in (p.trip_c, p.release_c, p.trip_is_gpu, p.trip_cap_index)]
    if not 0 <= p.n_trips <= min(trips):
        raise BundleError(f"{where}: n_trips: is {p.n_trips}, {min(trips)} are described")
    if any(index < 0 for index in p.trip_cap_index):
        raise BundleError(f"{where}: trip_cap_index: is below zero")
    if sorted((p.cpu_rank, p.gpu_rank, p.mem_rank)) != [0, 1, 2] or len(p.delay_of_rank_ms) != 3:
        raise BundleError(f"{where}: delay_of_rank_ms: the three clocks need one rank and delay each")
    for name in ("period_ms", "queue_limit_ms", "offload_timeout_ms"):
        if not getattr(p, name) > 0.0:
            raise BundleError(f"{where}: {name}: is {getattr(p, name)}, expected more than 0")


def pack_belief(belief: Belief) -> tuple[BeliefNumbers, dict[str, NDArray[Any]]]:
    """A belief as a record and arrays."""
    rtt, factor = belief.rtt_ms, belief.server_factor
    record = BeliefNumbers(belief.last_weight, rtt.mean, rtt.low, factor.mean, factor.low)
    nothing = np.zeros((0, 0, len(belief.marginal_log2)))
    return record, {
        "marginal_log2": belief.marginal_log2,
        "rate_quantiles_log2": nothing if belief.table is None else belief.table,
        "rtt_correlation": rtt.correlation,
        "factor_correlation": factor.correlation,
    }


def unpack_belief(arrays: Arrays, record: BeliefNumbers, numbers: Numbers, layout: Layout) -> Belief:
    """The belief that `pack_belief` took apart.

    Raises:
        BundleError: an array does not fit.
    """
    lags = len(LAGS_MS)
    marginal = arrays.take("marginal_log2", np.float64, None)
    table = arrays.take("rate_quantiles_log2", np.float64, None, None, len(marginal))
    rtt = arrays.take("rtt_correlation", np.float64, lags)
    factor = arrays.take("factor_correlation", np.float64, lags)
    return Belief(
        numbers,
        layout,
        marginal,
        table if table.size else None,
        record.last_weight,
        Regression(record.rtt_mean_ms, record.rtt_low_ms, rtt),
        Regression(record.factor_mean, record.factor_low, factor),
    )


def pack_moments(near: NearMoments, prefix: str) -> tuple[MomentsNumbers, dict[str, NDArray[Any]]]:
    """Near moments as a record and arrays whose names begin with `prefix`."""
    metric = near.metric
    record = MomentsNumbers(near.nearest, metric.before, metric.smooth, metric.silence, metric.timeouts)
    return record, {
        f"{prefix}_points": near.points,
        f"{prefix}_rows": near.rows.astype(np.int32),
        f"{prefix}_any": near.any_rows.astype(np.int32),
        f"{prefix}_ms_per_kilobit": near.ms_per_kilobit,
        f"{prefix}_bins": near.bins.astype(np.int32),
    }


def pack_present(present: Present) -> tuple[PresentNumbers, dict[str, NDArray[Any]]]:
    """What a planner believes by, as a record and arrays."""
    belief, arrays = pack_belief(present.belief)
    arrays |= {"late_share": present.late.share, "size_class": present.classes.astype(np.int32)}
    near, moments = present.moments, None
    if near is not None:
        moments, found = pack_moments(near, "moment")
        arrays |= found
    record = PresentNumbers(belief, moments, present.late.step_ms, present.usual_rtt_ms, present.recent_ms)
    return record, arrays


def unpack_present(arrays: Arrays, record: PresentNumbers, model: CostModel, layout: Layout) -> Present:
    """The belief and memory that `pack_present` took apart.

    Raises:
        BundleError: an array does not fit.
    """
    cuts, levels = model.send.shape[:2]
    near = None if record.moments is None else unpack_moments(arrays, record.moments, layout, "moment")
    sizes = 1 if near is None else near.ms_per_kilobit.shape[1]
    return Present(
        model.numbers,
        layout,
        model.send[:, :, 0].astype(np.float64),
        unpack_belief(arrays, record.belief, model.numbers, layout),
        LateAnswers(arrays.take("late_share", np.float64, None), record.late_step_ms),
        near,
        arrays.indices("size_class", sizes, cuts, levels),
        record.usual_rtt_ms,
        record.recent_ms,
    )


def unpack_moments(
    arrays: Arrays, record: MomentsNumbers, layout: Layout, prefix: str, moments: int | None = None
) -> NearMoments:
    """The moments that `pack_moments` took apart; `moments` is how many there have to be, if that is known.

    Raises:
        BundleError: an array does not fit.
    """
    if not 1 <= record.nearest <= _MOST_NEAREST:
        raise BundleError(f"policy: settings: nearest: is {record.nearest}, expected 1..{_MOST_NEAREST}")
    ms_per_kilobit = arrays.take(f"{prefix}_ms_per_kilobit", np.float64, moments, None)
    points = arrays.take(f"{prefix}_points", np.float64, 5, None)
    moments = len(ms_per_kilobit)
    return NearMoments(
        layout,
        Metric(record.before, record.smooth, record.silence, record.timeouts),
        record.nearest,
        points,
        arrays.indices(f"{prefix}_rows", moments, points.shape[1]),
        arrays.indices(f"{prefix}_any", moments, record.nearest),
        ms_per_kilobit,
        arrays.indices(f"{prefix}_bins", BINS, moments),
    )


def check_action(action: tuple[int, ...], bundle: Bundle, where: str) -> NDArray[np.int64]:
    """A joint action out of a bundle's settings, int64 [6].

    Raises:
        BundleError: it is none of this bundle's.
    """
    sizes = bundle.manifest.action.sizes
    if len(action) != len(PARTS) or not all(0 <= i < n for i, n in zip(action, sizes, strict=True)):
        raise BundleError(f"{bundle.path}: policy: settings: {where}: {list(action)} is no action of {sizes}")
    return np.array(action, dtype=np.int64)
