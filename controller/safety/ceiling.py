"""Upper limits as they were found are kept to: a power mode (nvpmodel) or an owner may have set them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dvfo_env.hardware.clocks import ClockAxis, Knob, point_of
from dvfo_env.hardware.originals import Original

#: Highest share of its top clock that a clock may have while the board is too hot.
HOT_SHARE = 0.5


def ceilings(originals: Iterable[Original]) -> dict[str, int]:
    """The upper limit found in each file of one, in the file's unit."""
    found = {}
    for original in originals:
        text = dict(original.files).get(original.limits[1]) if original.limits else None
        if original.limits and text is not None and text.isdigit():
            found[original.limits[1]] = int(text)
    return found


def below(axis: ClockAxis, found: Mapping[str, int]) -> ClockAxis:
    """The axis without clocks above the limit found for its fastest knob; the lowest clock always stays."""
    knob = axis.fastest
    ceiling = found.get(knob.limit_files[1])
    if ceiling is None or ceiling >= knob.points[-1]:
        return axis
    top = _capped(knob, knob.points[-1], found) / knob.per_mhz
    kept = {mhz for mhz in axis.mhz if mhz <= top} | ({top} if not knob.listed else set())
    return replace(axis, mhz=tuple(sorted(kept)) or axis.mhz[:1], reason=f"limits found end at {top:g} MHz")


def points(axis: ClockAxis, mhz: float, found: Mapping[str, int]) -> list[int]:
    """Every knob's own figure for a clock of the axis, none above the limit found for it."""
    return [_capped(knob, point_of(knob, axis, mhz), found) for knob in axis.knobs]


def cool(knob: Knob, found: Mapping[str, int]) -> tuple[int, int]:
    """Limits while the board is too hot: the lowest clock, and the highest one within the share."""
    low, top = knob.points[0], knob.points[-1]
    high = max((point for point in knob.points if point <= top * HOT_SHARE), default=low)
    return low, _capped(knob, high, found)


def _capped(knob: Knob, point: int, found: Mapping[str, int]) -> int:
    ceiling = found.get(knob.limit_files[1])
    if ceiling is None or point <= ceiling:
        return point
    if not knob.listed:
        return max(ceiling, knob.points[0])
    return max((legal for legal in knob.points if legal <= ceiling), default=knob.points[0])
