"""One run of `dvfo accuracy measure` from beginning to end: look, measure the cuts, time, write the table."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from dvfo_env.accuracy.datasets import open_images
from dvfo_env.accuracy.measuring.cut import Job, time_cut
from dvfo_env.accuracy.measuring.result import Run, build_table, write_record_of_images
from dvfo_env.accuracy.measuring.settings import Settings
from dvfo_env.accuracy.measuring.workers import measure_all
from dvfo_env.accuracy.models import TrainedModel, open_model
from dvfo_env.accuracy.table import AccuracyTable, ModelSource, user_tables_folder, write_accuracy_table
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import WorkloadCard, load_workload

#: Raised with every change of what a log's entries mean.
LOG_FORMAT = 1

#: Share of the work that timing is taken for, in the time that is left.
_TIMING_SHARE = 0.1


@dataclass(frozen=True)
class Options:
    """What a user asks for.

    `model` and `data` as `open_model` and `open_images` take them; `name` of the table, its workload's
    unless given; `out` None writes it where it is found by name; `fresh` forgets what an earlier run of the
    same plan measured, `retime` only its times.
    """

    model: str
    data: str
    settings: Settings = field(default_factory=Settings)
    workers: int = 1
    name: str | None = None
    out: Path | None = None
    fresh: bool = False
    retime: bool = False


@dataclass(frozen=True)
class Plan:
    """What a run will measure: hashes of model and data, cuts, settings, and where its logs lie."""

    options: Options
    card: WorkloadCard
    cuts: tuple[int, ...]
    run: Run
    hash: str

    @property
    def folder(self) -> Path:
        """Logs of all runs of this plan; they stay, so that the same command again has nothing to measure."""
        return user_tables_folder() / "runs" / self.hash

    @property
    def out(self) -> Path:
        """Where the table goes."""
        return self.options.out or user_tables_folder() / f"{self.run.name}.json"

    def jobs(self) -> list[Job]:
        """One for every cut."""
        options, names = self.options, self.card.cut_names
        return [
            Job(
                model=options.model,
                data=options.data,
                cut=cut,
                cut_name=names[cut],
                keys=tuple(options.settings.keys_at(self.card, cut)),
                images=len(self.run.labels),
                elements=self.card.cuts[cut].elements,
                settings=options.settings,
                plan_hash=self.hash,
                folder=self.folder,
            )
            for cut in self.cuts
        ]


@dataclass(frozen=True)
class Progress:
    """How far a run is: `stage` is "measuring" or "timing"."""

    stage: str
    share: float
    cuts_done: int
    cuts: int
    left_s: float | None


@dataclass(frozen=True)
class Outcome:
    """What a run brought: the table, where it and the record of images lie, cuts begun by an earlier run."""

    table: AccuracyTable
    path: Path
    record: Path
    seconds: float
    resumed: int


def look(options: Options) -> Plan:
    """Open model and data, choose the cuts; measures nothing, writes nothing.

    Raises:
        DataError: model or data are not there.
        ConfigError: a cut is unknown, or the data does not fit the model.
    """
    model, data = open_model(options.model), open_images(options.data)
    if data.test.classes > model.classes:
        raise ConfigError(
            f"--data: {data.name} has {data.test.classes} classes, {model.name} only {model.classes}"
        )
    card = load_workload(model.workload)
    cuts = _cuts(card, options.settings.cuts)
    test = data.test.first(options.settings.images or len(data.test))
    run = Run(
        name=options.name or card.name,
        title=f"{card.title}, measured on {data.name}",
        model=ModelSource(name=model.name, sha256=model.sha256, source=_source(model)),
        data_name=data.test.name,
        data_sha256=data.test.sha256,
        data_source=f"open_images({options.data!r})",
        classes=data.test.classes,
        labels=test.labels,
        clusters=test.clusters,
        calibration_images=min(len(data.train), options.settings.calibration_images),
        settings=options.settings,
        command=f"dvfo accuracy measure --model {options.model} --data {options.data}"
        + options.settings.as_options(),
    )
    settings = asdict(options.settings)
    what = {  # not the grid: what is asked for in addition is measured in addition
        "format": LOG_FORMAT,
        "model": [model.sha256, card.name, card.cut_names],
        "data": [data.test.sha256, data.train.sha256],
        "settings": {name: settings[name] for name in Settings.DECIDING} | {"images": len(test)},
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    return Plan(options, card, cuts, run, digest)


def run(options: Options, tell: Callable[[Progress], None]) -> Outcome:
    """Measure and write the table. What an interrupted run of the same plan measured is used.

    Raises:
        DvfoError: see `look`; an encoder fails, or a file cannot be written.
    """
    begun = time.monotonic()
    plan = look(options)
    jobs = plan.jobs()
    if options.fresh:
        shutil.rmtree(plan.folder, ignore_errors=True)
    resumed = sum(job.log.exists() for job in jobs)
    clock = _Clock(jobs, plan.card, tell)
    measure_all(jobs, options.workers, clock.measured)
    for number, job in enumerate(jobs):
        time_cut(job, options.retime, partial(clock.timed, number))
    table = build_table(plan.run, plan.card.name, jobs)
    write_accuracy_table(table, plan.out)
    record = plan.out.with_suffix(".images.npz")
    try:
        write_record_of_images(record, jobs, len(plan.run.labels))
    except OSError as error:
        raise ConfigError(f"{record}: cannot be written: {error.strerror}") from None
    return Outcome(table, plan.out, record, time.monotonic() - begun, resumed)


def _source(model: TrainedModel) -> str:
    """Where the weights come from, in one line."""
    return str(model.provenance.get("weights", model.provenance.get("source", model.name)))


def default_workers() -> int:
    """One for every core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuts(card: WorkloadCard, wanted: tuple[str, ...]) -> tuple[int, ...]:
    """Indices of the cuts asked for, or of those that send fewer elements than the input, and the input.

    Where those are fewer than half (a small image grows before it shrinks), all.
    """
    names = card.cut_names[:-1]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ConfigError(f"--cuts: {card.name} has no cut {unknown[0]!r}; it has {', '.join(names)}")
    if wanted:
        return tuple(index for index, name in enumerate(names) if name in wanted)
    smaller = [index for index in range(len(names)) if index == 0 or card.elements[index] < card.input_bytes]
    return tuple(smaller if 2 * len(smaller) >= len(names) else range(len(names)))


class _Clock:
    """From shares of cuts to one share and the time that is left.

    A cut's weight is what its tail and head compute for every setting, in networks' worth.
    """

    def __init__(self, jobs: Sequence[Job], card: WorkloadCard, tell: Callable[[Progress], None]) -> None:
        self._weights = [1.0 + len(job.keys) * (1.05 - float(card.depth[job.cut])) for job in jobs]
        self._shares = [0.0] * len(self._weights)
        self._tell = tell
        self._begun: tuple[float, float] | None = None

    def measured(self, number: int, share: float) -> None:
        """A cut has come so far."""
        before = self._share()
        self._shares[number] = max(self._shares[number], share)
        if self._begun is None:
            self._begun = (time.monotonic(), before)
        self._report("measuring", (1.0 - _TIMING_SHARE) * self._share())

    def timed(self, number: int, share: float) -> None:
        """Timing of a cut has come so far; those before it are done."""
        left = 1.0 - (number + share) / len(self._shares)
        self._report("timing", 1.0 - _TIMING_SHARE * left)

    def _report(self, stage: str, share: float) -> None:
        assert self._begun is not None
        begun, at = self._begun
        gone = time.monotonic() - begun
        left = gone * (1.0 - share) / (share - at) if share - at > 0.02 and gone > 2.0 else None
        done = sum(part == 1.0 for part in self._shares)
        self._tell(Progress(stage, share, done, len(self._shares), left))

    def _share(self) -> float:
        total = sum(self._weights)
        return sum(w * s for w, s in zip(self._weights, self._shares, strict=True)) / total
