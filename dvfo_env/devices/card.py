"""The card of a device: in three lines what is measured, fitted and assumed; and all its fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dvfo_env.devices.profile import ClockLaw, DeviceProfile, Fit, Law, LayerTable, SegmentTable
from dvfo_env.devices.provenance import coefficients_of
from dvfo_env.schema import Evidence

EVIDENCE: tuple[Evidence, ...] = ("measured", "fitted", "assumed")

_COPIES = "cost of handing a tensor over"
_TOPICS = (
    ("base_mw", "base power"),
    ("mem_idle_mw", "power of a memory clock"),
    ("cores.", "power per core"),
    ("gpu.voltage", "GPU voltage curve"),
    ("gpu.", "GPU power"),
    ("traffic_mw_per_gbs", "power of memory traffic"),
    ("activity.", "GPU activity of "),
)


_SUPPORTING = {
    "flop-scaling": "times scaled by FLOPs from another network's",
    "pose-network": "latency of the pose network",
    "encoder-speed": "time of encoding, from another machine's by 7-Zip",
    "core-rail-litert": "power of the core rail, LiteRT",
    "core-rail-onnx": "power of the core rail, ONNX Runtime",
    "core-rail-torchmobile": "power of the core rail, Torch Mobile",
}
"""What a reader calls a fit that supports a profile; all others are called as in the file."""


class FitRow(NamedTuple):
    """One fit of a profile: what it fits, and its errors in percent (None where there is none)."""

    device: str
    what: str
    fit: Fit


def opening(profile: DeviceProfile) -> list[str]:
    """Three lines, `measured: ...`, `fitted: ... (error, hold-out)` and `assumed: ...`."""
    found: dict[Evidence, list[str]] = {kind: [] for kind in EVIDENCE}
    _latency(profile, found)
    coefficients = coefficients_of(profile)
    for kind in EVIDENCE:
        rest = (
            name for name, c in coefficients.items() if c.evidence == kind and not name.startswith("latency.")
        )
        found[kind] += _topics(rest)
    if profile.thermal and any(trip.evidence == "assumed" for trip in profile.thermal.trips):
        found["assumed"].append("temperatures that cap a clock")
    fits = [row for row in fits_of(profile) if row.fit.holdout_error_percent is not None]
    found["assumed"] += [f"{row.what} ({_errors(row.fit)})" for row in fits if row.fit.error_percent is None]
    fits = [row for row in fits if row.fit.error_percent is not None]
    topics = [topic for topic in found["fitted"] if not any(row.what.startswith(topic) for row in fits)]
    found["fitted"] = [f"{row.what} ({_errors(row.fit)})" for row in fits] + topics
    if profile.power is None:
        found["assumed"].append("nothing about power: the profile is latency only")
    return [f"{kind}: {'; '.join(found[kind]) if found[kind] else 'nothing'}" for kind in EVIDENCE]


def fits_of(profile: DeviceProfile) -> list[FitRow]:
    """Every fit with an error, laws first; laws that share one fit stand in one row.

    A rule that is not fitted (times scaled by FLOPs) has an error on what it was not told alone.

    Tables of measured layers hold no fit: a network's row says how far their sums are from its measured
    whole time, at worst over the mappings.
    """
    shared: dict[Fit, list[tuple[str, str]]] = {}
    tables: dict[str, Fit] = {}
    for workload, laws in profile.latency.items():
        for mapping, law in laws.items():
            if law.fit.error_percent is None:
                continue
            if law.fit.holdout_error_percent is not None:
                shared.setdefault(law.fit, []).append((workload, mapping))
            elif law.fit.error_percent >= (
                tables[workload].error_percent or 0.0 if workload in tables else 0.0
            ):
                tables[workload] = law.fit
    known = list(profile.supporting.values())
    rows = [
        FitRow(profile.name, f"latency of {_places(pairs)}", fit)
        for fit, pairs in shared.items()
        if not _same_as_any(fit, known)
    ]
    rows += [
        FitRow(profile.name, f"layers of {workload}, sum against the whole, worst mapping", fit)
        for workload, fit in tables.items()
    ]
    rows += [
        FitRow(profile.name, _SUPPORTING.get(name, name), fit) for name, fit in profile.supporting.items()
    ]
    if profile.power is not None:
        for name, terms in (
            ("board power", profile.power.board),
            ("power of the rails", profile.power.rails),
        ):
            if terms is not None and terms.fit.error_percent is not None:
                where = f" ({profile.power.meter})" if name == "board power" and profile.power.meter else ""
                rows.append(FitRow(profile.name, f"{name}{where}", terms.fit))
    return [row for row in (*rows, *_copy_rows(profile)) if _errors(row.fit)]


def power_evidence(profile: DeviceProfile) -> str:
    """Where the board's power comes from, in two or three words."""
    if profile.power is None:
        return "latency only"
    if profile.power.board.fit.error_percent is None:
        return "assumed"
    return f"fitted, {profile.power.meter or 'board input'}"


def latency_evidence(profile: DeviceProfile, workload: str, mapping: str) -> Evidence:
    """Best evidence behind the whole network's time: fitted over clocks, measured once, or assumed."""
    kinds = _evidence_of(profile, workload, mapping)
    return next(kind for kind in ("fitted", "measured", "assumed") if kind in kinds)


def _evidence_of(profile: DeviceProfile, workload: str, mapping: str) -> set[Evidence]:
    stem = f"latency.{workload}.{mapping}"
    return {
        c.evidence
        for name, c in coefficients_of(profile, workload).items()
        if f"{name}.".startswith(f"{stem}.")
    }


def _latency(profile: DeviceProfile, found: dict[Evidence, list[str]]) -> None:
    """Fill in what is known of each network on each mapping."""
    measured: dict[str, list[tuple[str, str]]] = {}
    course: list[tuple[str, str]] = []
    assumed: list[tuple[str, str]] = []
    for workload, laws in profile.latency.items():
        for mapping, law in laws.items():
            kinds = _evidence_of(profile, workload, mapping)
            if "measured" in kinds:
                measured.setdefault(_how(law), []).append((workload, mapping))
            if kinds == {"assumed"}:
                assumed.append((workload, mapping))
            elif "assumed" in kinds or (isinstance(law, ClockLaw) and law.fit.points <= 1):
                course.append((workload, mapping))
    found["measured"] += [f"{how} of {_places(pairs)}" for how, pairs in measured.items()]
    if course:
        found["assumed"].append(f"part of the course over the clocks of {_places(course)}")
    if assumed:
        found["assumed"].append(f"latency of {_places(assumed)}")


def _how(law: Law) -> str:
    if isinstance(law, LayerTable) or (isinstance(law, SegmentTable) and law.fit.points > 1):
        return "latency layer by layer"
    if law.kind == "clock_table":
        return "latency of every segment over the clocks"
    return "whole-network latency at one setting"


def _places(pairs: Iterable[tuple[str, str]]) -> str:
    """`a, b on cpu1, cpu4 and c on gpu`: networks that share their mappings stand together."""
    by_workload: dict[str, list[str]] = {}
    for workload, mapping in pairs:
        by_workload.setdefault(workload, []).append(mapping)
    by_mappings: dict[tuple[str, ...], list[str]] = {}
    for workload, mappings in by_workload.items():
        by_mappings.setdefault(tuple(mappings), []).append(workload)
    return " and ".join(
        f"{', '.join(workloads)} on {', '.join(mappings)}" for mappings, workloads in by_mappings.items()
    )


def _topics(names: Iterable[str]) -> list[str]:
    """Names of coefficients outside latency as topics, each once, in the order of the file."""
    topics: dict[str, list[str]] = {}
    for name in names:
        stem, of = _topic(name)
        topics.setdefault(stem, [])
        if of and of not in topics[stem]:
            topics[stem].append(of)
    return [f"{stem}{', '.join(of)}" for stem, of in topics.items()]


def _topic(name: str) -> tuple[str, str]:
    """(topic, what it is of) of one dotted name."""
    head, _, rest = name.partition(".")
    if name.endswith("effect_delay_ms"):
        return "delay until a new clock takes effect", ""
    if head == "mappings":
        return "how busy a driving core is", ""
    if head == "copies":
        return _COPIES, ""
    if head == "encoder_ms_ghz":
        return "time of encoding", ""
    if head == "thermal":
        return "thermal node", ""
    if rest.startswith("cpu_voltage"):
        return "CPU voltage curve", ""
    if rest.startswith("dram_gb."):
        return "memory traffic of ", rest.removeprefix("dram_gb.")
    which, _, term = rest.partition(".")
    prefix = "rails: " if which == "rails" else ""
    for start, topic in _TOPICS:
        if term.startswith(start):
            return f"{prefix}{topic}", term.removeprefix(start) if topic.endswith(" of ") else ""
    return name, ""


def _copy_rows(profile: DeviceProfile) -> list[FitRow]:
    """The fitted copy costs that state an error; how many points they rest on is not in the profile (0)."""
    rows = []
    for way, cost in profile.copies.items():
        slope = cost.ms_per_mb
        if slope.evidence == "fitted" and slope.error_percent is not None:
            fit = Fit(
                points=0,
                conditions="base + ms/MB * MB",
                error_percent=slope.error_percent,
                holdout_error_percent=slope.holdout_error_percent,
                holdout_method=slope.note or "",
            )
            rows.append(FitRow(profile.name, f"{_COPIES}, {way}", fit))
    return rows


def _same_as_any(fit: Fit, others: list[Fit]) -> bool:
    return any(
        (fit.points, fit.error_percent, fit.holdout_error_percent)
        == (other.points, other.error_percent, other.holdout_error_percent)
        for other in others
    )


def _errors(fit: Fit) -> str:
    inside, held = percent(fit.error_percent), percent(fit.holdout_error_percent)
    return ", ".join(part for part in (inside, f"hold-out {held}" if held else "") if part)


def percent(value: float | None) -> str:
    """An error in percent to two digits, `< 0.01 %` where it is smaller, nothing where there is none."""
    if value is None:
        return ""
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.2g} %" if value < 10.0 else f"{value:.0f} %"
