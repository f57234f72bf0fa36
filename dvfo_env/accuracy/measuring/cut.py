"""Measuring one cut: every setting on every test image, sizes of real frames, then their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy.datasets import LabelledImages, open_images
from dvfo_env.accuracy.measuring.encoders import Encoders
from dvfo_env.accuracy.measuring.log import CutLog, packed, unpacked
from dvfo_env.accuracy.measuring.settings import Settings, VariantKey, hopeless_because
from dvfo_env.accuracy.measuring.split import CutNetwork, Floats
from dvfo_env.accuracy.measuring.variants import Payload, Variant, coders_of
from dvfo_env.accuracy.models import open_model
from dvfo_env.codecs.reference import reference_encode_ms
from dvfo_env.workloads import load_workload

#: Elements of a crossing tensor in one chunk of images, 128 MB.
_CHUNK_ELEMENTS = 1 << 25
_MOST_IN_A_CHUNK = 1000
_FEWEST_PILOT_IMAGES = 40


@dataclass(frozen=True)
class Job:
    """One cut to measure, as a process of its own needs it."""

    model: str
    data: str
    cut: int
    cut_name: str
    keys: tuple[VariantKey, ...]
    settings: Settings
    plan_hash: str
    folder: Path

    @property
    def log(self) -> Path:
        """Where its log lies."""
        return self.folder / f"cut-{self.cut:02d}.jsonl"

    @property
    def frames(self) -> Path:
        """Payloads of the frames to time, and the parameters of the encoders."""
        return self.folder / f"cut-{self.cut:02d}"


def chunks(images: int, elements: int, most_pilot: int) -> list[tuple[int, int]]:
    """Ranges of test images: the pilot first, then as many at a time as memory allows."""
    pilot = min(images, most_pilot, max(_FEWEST_PILOT_IMAGES, images // 5))
    size = int(np.clip(_CHUNK_ELEMENTS // max(elements, 1), 16, _MOST_IN_A_CHUNK))
    starts = [0, *range(pilot, images, size)]
    return list(zip(starts, [*starts[1:], images], strict=True))


def measure_cut(job: Job, tell: Callable[[float], None]) -> None:
    """Measure what the cut's log lacks; `tell` is told the share done.

    Raises:
        DvfoError: model or data cannot be opened, the network cannot be cut, an encoder fails.
    """
    with CutLog(job.log, job.plan_hash, job.cut_name) as log:
        if not log.has("done"):
            _Cut(job, log, tell).measure()
            log.append("done")
        tell(1.0)


class _Cut:
    """What is open while a cut is measured."""

    def __init__(self, job: Job, log: CutLog, tell: Callable[[float], None]) -> None:
        self._job, self._log, self._tell = job, log, tell
        settings = job.settings
        self._model = open_model(job.model)
        splits = open_images(job.data)
        self._train = splits.train.first(settings.calibration_images)
        self._test = splits.test.first(settings.images or len(splits.test))
        card = load_workload(self._model.workload)
        self._network = CutNetwork(self._model, card, job.cut)
        self._chunks = chunks(len(self._test), card.cuts[job.cut].elements, settings.pilot_images)
        self._encoders = Encoders(job.keys, settings)

    def measure(self) -> None:
        """All chunks, each through every setting that is not hopeless."""
        self._calibrate()
        variants = self._encoders.variants()
        for number, (start, stop) in enumerate(self._chunks):
            left = [variant for variant in variants if not self._settled(number, variant)]
            if left:
                self._measure_chunk(number, start, stop, left)
            self._tell((number + 1) / len(self._chunks))

    def _calibrate(self) -> None:
        if self._log.has("calibration") and Encoders.kept(self._job.frames):
            self._encoders, _ = Encoders.load(self._job.frames, self._job.settings, self._job.keys)
            return
        images = self._fitted(self._train, 0, len(self._train))
        payload = self._network.head(images)
        answers = self._network.tail(payload)
        if not self._log.has("calibration"):
            confidences = [round(float(value), 5) for value in confidence(answers)]
            self._log.append("calibration", confidences=confidences)
        self._encoders.prepare(self._job.cut_name, payload, answers, self._network.tail_of)
        first = self._network.head(self._fitted(self._test, 0, self._job.settings.timed_frames))
        self._encoders.save(self._job.frames, first)

    def _measure_chunk(self, number: int, start: int, stop: int, variants: list[Variant]) -> None:
        payload = self._network.head(self._fitted(self._test, start, stop))
        reference = self._network.tail(payload)
        labels = self._test.labels[start:stop]
        best = reference.argmax(axis=1)
        if not self._log.has("reference", chunk=number):
            confidences = [round(float(value), 5) for value in confidence(reference)]
            right = packed(best == labels)
            self._log.append("reference", chunk=number, start=start, confidences=confidences, right=right)
        for done, variant in enumerate(variants):
            if not self._settled(number, variant):
                if not self._log.has("answers", chunk=number, variant=variant.key.text):
                    found = self._network.tail(variant.roundtrip(payload)).argmax(axis=1)
                    self._log.append(
                        "answers",
                        chunk=number,
                        variant=variant.key.text,
                        right=packed(found == labels),
                        agree=packed(found == best),
                    )
                self._count_bytes(number, start, payload, variant)
            self._tell((number + (done + 1) / len(variants)) / len(self._chunks))

    def _count_bytes(self, number: int, start: int, payload: Payload, variant: Variant) -> None:
        count = min(len(payload[0]), self._job.settings.bytes_images - start)
        if count <= 0:
            return
        for coder in coders_of(variant.key, self._job.settings.coders):
            if not self._log.has("bytes", chunk=number, variant=variant.key.text, coder=coder):
                sizes = [len(variant.encode(image, coder)) for image in single_images(payload, count)]
                self._log.append("bytes", chunk=number, variant=variant.key.text, coder=coder, sizes=sizes)

    def _settled(self, number: int, variant: Variant) -> bool:
        """Whether nothing is left to do for this setting in this chunk."""
        name = variant.key.text
        if self._log.has("skipped", variant=name):
            return True
        because = hopeless_because(variant.key, self._job.settings, self._pilot())
        if because is not None:
            self._log.append("skipped", variant=name, because=because.text)
            return True
        start = self._chunks[number][0]
        last = coders_of(variant.key, self._job.settings.coders)[-1]
        counted = start >= self._job.settings.bytes_images or self._log.has(
            "bytes", chunk=number, variant=name, coder=last
        )
        return counted and self._log.has("answers", chunk=number, variant=name)

    def _pilot(self) -> dict[VariantKey, float]:
        """Agreement of every setting that the pilot images went through."""
        keys = {key.text: key for key in self._job.keys}
        pilot = self._chunks[0][1]
        return {
            keys[entry["variant"]]: float(unpacked(entry["agree"], pilot).mean())
            for entry in self._log.of_kind("answers")
            if entry["chunk"] == 0
        }

    def _fitted(self, images: LabelledImages, start: int, stop: int) -> NDArray[np.uint8]:
        return images.images(start, stop, self._model.fit)


def time_cut(job: Job, tell: Callable[[float], None]) -> None:
    """Time encoding and decoding of what was measured, and the reference encoding; needs no network.

    CPU time of this process, in which one thread works: others cannot lengthen it by taking the core.
    """
    with CutLog(job.log, job.plan_hash, job.cut_name) as log:
        encoders, payload = Encoders.load(job.frames, job.settings, job.keys)
        if not log.has("reference_encode"):
            log.append("reference_encode", ms=round(reference_encode_ms(), 5))
        counted = {(entry["variant"], entry["coder"]) for entry in log.of_kind("bytes")}
        wanted = [
            (variant, coder)
            for variant in encoders.variants()
            for coder in coders_of(variant.key, job.settings.coders)
            if (variant.key.text, coder) in counted
        ]
        for done, (variant, coder) in enumerate(wanted):
            if not log.has("times", variant=variant.key.text, coder=coder):
                encode_ms, decode_ms = _times(variant, coder, payload, job.settings.timed_repeats)
                log.append(
                    "times",
                    variant=variant.key.text,
                    coder=coder,
                    encode_ms=round(encode_ms, 5),
                    decode_ms=round(decode_ms, 5),
                )
            tell((done + 1) / len(wanted))


def _times(variant: Variant, coder: str, payload: Payload, repeats: int) -> tuple[float, float]:
    """Medians of encoding and decoding, ms, over all frames and repeats."""
    encode: list[float] = []
    decode: list[float] = []
    images = list(single_images(payload, len(payload[0])))
    variant.decode(variant.encode(images[0], coder), coder)
    for image in images * repeats:
        begun = time.process_time_ns()
        frame = variant.encode(image, coder)
        between = time.process_time_ns()
        variant.decode(frame, coder)
        decode.append((time.process_time_ns() - between) / 1e6)
        encode.append((between - begun) / 1e6)
    return median(encode), median(decode)


def single_images(payload: Payload, count: int) -> Iterator[Payload]:
    """The first images of a batch, one by one, without the batch axis."""
    for number in range(count):
        yield [np.ascontiguousarray(tensor[number]) for tensor in payload]


def confidence(answers: Floats) -> Floats:
    """Largest softmax probability of each answer, [N]."""
    shifted = np.exp(answers - answers.max(axis=1, keepdims=True))
    largest: Floats = 1.0 / shifted.sum(axis=1)
    return largest
