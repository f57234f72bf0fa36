"""From the logs of all cuts to the accuracy table, and to the record of what happened to every image."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy.measuring.cut import Job
from dvfo_env.accuracy.measuring.log import unpacked
from dvfo_env.accuracy.measuring.settings import FEATURE, IMAGE, Settings, VariantKey
from dvfo_env.accuracy.measuring.statistics import Bits, Interval, Sample
from dvfo_env.accuracy.measuring.variants import coders_of, name_of
from dvfo_env.accuracy.table import (
    AccuracyTable,
    Baseline,
    DataSource,
    Difficulty,
    Machine,
    ModelSource,
    Row,
    columns_of,
)
from dvfo_env.codecs import LOSSLESS_IMAGE_CODECS
from dvfo_env.profiling.log import read_log

#: Classes of difficulty at most, quarters of the calibration images by confidence, and the least share of the
#: tested images in each.
_CLASSES, _LEAST_SHARE = 4, 0.1

#: From so many independent images on, accuracy is told apart well enough for the environment to charge it:
#: half an interval is then about a point at 90 %.
_FEWEST_FOR_ACCURACY = 3000

#: The one exit and task of the networks measured today.
_EXIT, _TASK = 0, "classify"

_SOFTWARE = ("numpy", "torch", "zstandard", "constriction", "pillow")


@dataclass(frozen=True)
class Run:
    """What a table says about where it comes from, and the labels and clusters of the tested images."""

    name: str
    title: str
    model: ModelSource
    data_name: str
    data_sha256: str
    data_source: str
    classes: int
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    calibration_images: int
    settings: Settings
    command: str


class CutResult:
    """What the log of one cut holds, as arrays over all tested images."""

    def __init__(self, job: Job, images: int) -> None:
        self.job = job
        entries = read_log(job.log)
        self.calibration = np.array(
            next(e["confidences"] for e in entries if e["kind"] == "calibration"), dtype=np.float64
        )
        references = sorted((e for e in entries if e["kind"] == "reference"), key=lambda e: int(e["start"]))
        sizes = [len(entry["confidences"]) for entry in references]
        self.confidence = np.concatenate([np.array(entry["confidences"]) for entry in references])
        self.right = np.concatenate(
            [unpacked(e["right"], count) for e, count in zip(references, sizes, strict=True)]
        )
        self._answers: dict[str, list[Any]] = {}
        for entry in entries:
            if entry["kind"] == "answers":
                self._answers.setdefault(entry["variant"], [None] * len(sizes))[entry["chunk"]] = entry
        self._sizes, self._images = sizes, images
        self.bytes: dict[tuple[str, str], NDArray[np.int64]] = {}
        for entry in entries:
            if entry["kind"] == "bytes":
                key = entry["variant"], entry["coder"]
                so_far = self.bytes.get(key, np.empty(0, dtype=np.int64))
                self.bytes[key] = np.concatenate([so_far, np.array(entry["sizes"], dtype=np.int64)])
        self.reference_encode_ms = [e["ms"] for e in entries if e["kind"] == "reference_encode"][-1:]
        self.times = {
            (entry["variant"], entry["coder"]): (entry["encode_ms"], entry["decode_ms"])
            for entry in entries
            if entry["kind"] == "times"
        }

    @property
    def variants(self) -> list[VariantKey]:
        """Settings asked for that all images went through."""
        return [key for key in self.job.keys if None not in self._answers.get(key.text, [None])]

    def answers(self, variant: str, what: str) -> Bits:
        """Truth values [images]: `what` is "right" or "agree"."""
        return np.concatenate(
            [
                unpacked(entry[what], count)
                for entry, count in zip(self._answers[variant], self._sizes, strict=True)
            ]
        )


def build_table(run: Run, workload: str, jobs: Sequence[Job]) -> AccuracyTable:
    """The table of a run whose jobs are all done."""
    results = [CutResult(job, len(run.labels)) for job in jobs]
    sample = Sample(run.clusters)
    first = results[0]
    edges = difficulty_edges(first.calibration, first.confidence)
    classes = np.digitize(first.confidence, edges)
    members = [classes == number for number in range(len(edges) + 1)]
    shares = tuple(_short(float(member.mean())) for member in members)
    rows, losing = [], 0
    for result in results:
        for key in result.variants:
            made = _rows(result, key, sample, members, run.settings.coders)
            rows += made
            losing += len(coders_of(key, run.settings.coders)) - len(made)
    baseline = sample.share(first.right)
    assert baseline is not None
    return AccuracyTable(
        name=run.name,
        title=run.title,
        note=_note(run, sample, results, losing),
        workload=workload,
        evidence="measured",
        source=run.command,
        charges="accuracy" if sample.independent and sample.images >= _FEWEST_FOR_ACCURACY else "agreement",
        model=run.model,
        data=DataSource(
            name=run.data_name,
            sha256=run.data_sha256,
            source=run.data_source,
            classes=run.classes,
            images=sample.images,
            clusters=sample.clusters,
            calibration_images=run.calibration_images,
        ),
        machine=_machine(run.settings, [ms for result in results for ms in result.reference_encode_ms]),
        baseline=Baseline(
            accuracy=_short(baseline.value),
            accuracy_low=_short(baseline.low),
            accuracy_high=_short(baseline.high),
        ),
        difficulty=Difficulty(edges=tuple(_short(edge) for edge in edges), shares=shares),
        rows=columns_of(rows),
    )


def difficulty_edges(calibration: NDArray[np.float64], tested: NDArray[np.float64]) -> list[float]:
    """Edges between classes of confidence: quartiles of the calibration images'.

    Those that would leave a class with less than a tenth of the tested images are left out.
    """
    edges: list[float] = []
    for edge in np.quantile(calibration, np.arange(1, _CLASSES) / _CLASSES):
        share = float((tested < _short(float(edge))).mean())
        before = float((tested < edges[-1]).mean()) if edges else 0.0
        if share - before >= _LEAST_SHARE and 1.0 - share >= _LEAST_SHARE:
            edges.append(_short(float(edge)))
    return edges


def _rows(
    result: CutResult, key: VariantKey, sample: Sample, members: Sequence[Bits], coders: Sequence[str]
) -> list[Row]:
    """One row for every coder that makes frames shorter than no coder does."""
    right, agree = result.answers(key.text, "right"), result.answers(key.text, "agree")
    accuracy, agreement = sample.share(right), sample.share(agree)
    lost = sample.drop(result.right, right)
    assert accuracy is not None  # None only without images
    assert agreement is not None
    assert lost is not None
    if lossless(key):  # there is nothing to be uncertain about
        agreement, lost = Interval(1.0, 1.0, 1.0), Interval(0.0, 0.0, 0.0)
    lost_by_class = tuple(_points(sample.drop(result.right, right, among)) for among in members)
    disagreed = tuple(_points(sample.share(~agree, among)) for among in members)
    plain = result.bytes.get((key.text, "none"))
    rows = []
    for coder in coders_of(key, coders):
        sizes = result.bytes[key.text, coder]
        if coder != "none" and plain is not None and sizes.mean() >= plain.mean():
            continue
        encode_ms, decode_ms = result.times[key.text, coder]
        rows.append(
            Row(
                cut=result.job.cut_name,
                codec=name_of(key, coder),
                ranking=key.ranking,
                keep=_short(key.keep),
                bits=key.bits,
                coder=coder,
                exit=_EXIT,
                task=_TASK,
                bytes_mean=_short(float(sizes.mean())),
                bytes_p95=_short(float(np.quantile(sizes, 0.95))),
                encode_ms=_short(encode_ms),
                decode_ms=_short(decode_ms),
                accuracy=_short(accuracy.value),
                accuracy_low=_short(accuracy.low),
                accuracy_high=_short(accuracy.high),
                agreement=_short(agreement.value),
                agreement_low=_short(agreement.low),
                agreement_high=_short(agreement.high),
                lost_points=_short(100 * lost.value),
                lost_low=_short(100 * lost.low),
                lost_high=_short(100 * lost.high),
                lost_by_class=lost_by_class,
                disagreed_by_class=disagreed,
            )
        )
    return rows


def lossless(key: VariantKey) -> bool:
    """Whether a setting gives back every bit."""
    if key.kind == IMAGE:
        return key.image in LOSSLESS_IMAGE_CODECS
    return key.kind == FEATURE and key.keep == 1.0 and key.bits == 32


def _points(interval: Interval | None) -> float:
    """Points; 0 for a class without images."""
    return 0.0 if interval is None else _short(100 * interval.value)


def _short(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")


def _note(run: Run, sample: Sample, results: Sequence[CutResult], losing: int) -> str:
    settings = run.settings
    skipped = sum(len(result.job.keys) - len(result.variants) for result in results)
    counted = min(settings.bytes_images, sample.images)
    parts = [
        f"Accuracy and agreement on all {sample.images} images ({sample.method}).",
        f"Feature bytes of whole frames of the first {counted} of them.",
        f"Calibrated on {run.calibration_images} images of the training split.",
    ]
    if skipped:
        parts.append(
            f"{skipped} settings left out because a milder one of the same ranking agreed on less than "
            f"{settings.hopeless_agreement:.0%} of the pilot images."
        )
    if losing:
        parts.append(f"{losing} rows left out because the coder made frames no shorter.")
    return " ".join(parts)


def _machine(settings: Settings, reference_ms: Sequence[float]) -> Machine:
    from dvfo_env.hardware.sysfs import SysFs
    from dvfo_env.hardware.topology import discover

    found = []
    for package in _SOFTWARE:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return Machine(
        cpu=discover(SysFs()).processor,
        software=", ".join([f"Python {platform.python_version()}", *found]),
        reference_encode_ms=_short(median(reference_ms)),
        note=f"CPU time of one thread, fastest of {settings.timed_rounds} rounds, median of "
        f"{settings.timed_frames} frames, after everything else was measured",
    )


def write_record_of_images(path: Path, jobs: Sequence[Job], images: int) -> Path:
    """Write what happened to every image, for classes of difficulty of one's own and for request streams.

    An .npz of: `confidence` float32 [images] and `right` bool [images], the uncompressed network's; `cut`
    and `setting`, text [settings]; `agree` and `right_after`, bits of [settings, images] packed along images.
    """
    results = [CutResult(job, images) for job in jobs]
    pairs = [(result, key) for result in results for key in result.variants]
    np.savez_compressed(
        path,
        confidence=results[0].confidence.astype(np.float32),
        right=results[0].right,
        cut=np.array([result.job.cut_name for result, _ in pairs]),
        setting=np.array([key.text for _, key in pairs]),
        agree=np.packbits(np.array([result.answers(key.text, "agree") for result, key in pairs]), axis=1),
        right_after=np.packbits(
            np.array([result.answers(key.text, "right") for result, key in pairs]), axis=1
        ),
    )
    return path
