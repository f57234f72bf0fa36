"""Measuring one cut: every setting on every test image, sizes of real frames, then their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dvfo_env.accuracy.datasets import LabelledImages, open_images
from dvfo_env.accuracy.importance import CutFeatures
from dvfo_env.accuracy.measuring.encoders import Encoders
from dvfo_env.accuracy.measuring.log import CutLog, packed, unpacked
from dvfo_env.accuracy.measuring.settings import Settings, VariantKey, hopeless_because
from dvfo_env.accuracy.measuring.split import CutNetwork, Floats
from dvfo_env.accuracy.measuring.variants import Payload, Variant, coders_of, single_images
from dvfo_env.accuracy.models import open_model
from dvfo_env.codecs.reference import reference_encode_ms
from dvfo_env.workloads import load_workload

#: Elements of a crossing tensor in one chunk of images, 128 MB.
_CHUNK_ELEMENTS = 1 << 25
_MOST_IN_A_CHUNK = 1000
_FEWEST_PILOT_IMAGES = 40


@dataclass(frozen=True)
class Job:
    """One cut to measure on so many images, as a process of its own needs it."""

    model: str
    data: str
    cut: int
    cut_name: str
    keys: tuple[VariantKey, ...]
    images: int
    elements: int
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
        state = _State(job, log)
        if state.left():
            _Cut(job, log, state, tell).measure()
        tell(1.0)


class _State:
    """What a cut's log holds, and what is left to do."""

    def __init__(self, job: Job, log: CutLog) -> None:
        self._job, self._log = job, log
        self.chunks = chunks(job.images, job.elements, job.settings.pilot_images)

    def left(self) -> bool:
        """Whether anything is."""
        numbers = range(len(self.chunks))
        return not self._log.has("calibration") or any(
            not self.settled(number, key) for number in numbers for key in self._job.keys
        )

    def settled(self, number: int, key: VariantKey) -> bool:
        """Whether nothing is left to do for a setting in a chunk; one that is hopeless is written down."""
        settings = self._job.settings
        if hopeless_because(key, settings, self._pilot()) is not None:
            return True
        if not self._log.has("answers", chunk=number, variant=key.text):
            return False
        return self.chunks[number][0] >= settings.bytes_images or all(
            self._log.has("bytes", chunk=number, variant=key.text, coder=coder)
            for coder in coders_of(key, settings.coders)
        )

    def _pilot(self) -> dict[VariantKey, float]:
        """Agreement of every setting that the pilot images went through."""
        pilot = self.chunks[0][1]
        return {
            key: float(unpacked(self._log.get("answers", chunk=0, variant=key.text)["agree"], pilot).mean())
            for key in self._job.keys
            if self._log.has("answers", chunk=0, variant=key.text)
        }


class _Cut:
    """What is open while a cut is measured."""

    def __init__(self, job: Job, log: CutLog, state: _State, tell: Callable[[float], None]) -> None:
        self._job, self._log, self._state, self._tell = job, log, state, tell
        self._model = open_model(job.model)
        splits = open_images(job.data)
        self._train = splits.train.first(job.settings.calibration_images)
        self._test = splits.test.first(job.images)
        card = load_workload(self._model.workload)
        self._network = CutNetwork(self._model, card, job.cut)
        self._encoders = Encoders(job.frames)
        self._features: CutFeatures | None = None

    def measure(self) -> None:
        """All chunks, each through every setting that is not hopeless."""
        if not self._log.has("calibration"):
            settings = self._job.settings
            self._encoders.keep_frames(self._network.head(self._fitted(self._test, 0, settings.timed_frames)))
            answers = self._calibration_features().reference.numpy()
            confidences = [round(float(value), 5) for value in confidence(answers)]
            self._log.append("calibration", confidences=confidences)
        for number in range(len(self._state.chunks)):
            left = [key for key in self._job.keys if not self._state.settled(number, key)]
            if left:
                self._measure_chunk(number, left)
            self._tell((number + 1) / len(self._state.chunks))

    def _calibration_features(self) -> CutFeatures:
        """What the calibration images send, and the uncompressed network's answers; computed once."""
        if self._features is None:
            payload = self._network.head(self._fitted(self._train, 0, len(self._train)))
            self._features = CutFeatures(
                self._job.cut_name,
                tuple(torch.from_numpy(tensor) for tensor in payload),
                self._network.tail_of,
                torch.from_numpy(self._network.tail(payload)),
            )
        return self._features

    def _variant(self, key: VariantKey) -> Variant:
        """The encoder of a setting, made now where no run before has."""
        name = self._encoders.needs(key)
        if name is not None:
            self._encoders.make(name, self._calibration_features())
        return self._encoders.variant(key)

    def _measure_chunk(self, number: int, keys: Sequence[VariantKey]) -> None:
        start, stop = self._state.chunks[number]
        payload = self._network.head(self._fitted(self._test, start, stop))
        reference = self._network.tail(payload)
        labels = self._test.labels[start:stop]
        best = reference.argmax(axis=1)
        if not self._log.has("reference", chunk=number):
            confidences = [round(float(value), 5) for value in confidence(reference)]
            right = packed(best == labels)
            self._log.append("reference", chunk=number, start=start, confidences=confidences, right=right)
        for done, key in enumerate(keys):
            if not self._state.settled(number, key):  # what came before may have shown it hopeless
                variant = self._variant(key)
                if not self._log.has("answers", chunk=number, variant=key.text):
                    found = self._network.tail(variant.roundtrip(payload)).argmax(axis=1)
                    right, agree = packed(found == labels), packed(found == best)
                    self._log.append("answers", chunk=number, variant=key.text, right=right, agree=agree)
                self._count_bytes(number, start, payload, variant)
            self._tell((number + (done + 1) / len(keys)) / len(self._state.chunks))

    def _count_bytes(self, number: int, start: int, payload: Payload, variant: Variant) -> None:
        count = min(len(payload[0]), self._job.settings.bytes_images - start)
        if count <= 0:
            return
        for coder in coders_of(variant.key, self._job.settings.coders):
            if not self._log.has("bytes", chunk=number, variant=variant.key.text, coder=coder):
                sizes = variant.sizes(payload, count, coder)
                self._log.append("bytes", chunk=number, variant=variant.key.text, coder=coder, sizes=sizes)

    def _fitted(self, images: LabelledImages, start: int, stop: int) -> NDArray[np.uint8]:
        return images.images(start, stop, self._model.fit)


def time_cut(job: Job, again: bool, tell: Callable[[float], None]) -> None:
    """Time encoding and decoding of what was measured, and the reference encoding; needs no network.

    What has been timed before stays, unless `again`.

    CPU time of this process, in which one thread works: others cannot lengthen it by taking the core.
    """
    with CutLog(job.log, job.plan_hash, job.cut_name) as log:
        counted = {(entry["variant"], entry["coder"]) for entry in log.of_kind("bytes")}
        wanted = [
            (key, coder)
            for key in job.keys
            for coder in coders_of(key, job.settings.coders)
            if (key.text, coder) in counted and (again or not log.has("times", variant=key.text, coder=coder))
        ]
        if wanted:
            log.append("reference_encode", ms=round(reference_encode_ms(), 5))
            for (key, coder), (encode_ms, decode_ms) in _times(job, wanted, tell).items():
                log.append(
                    "times",
                    variant=key.text,
                    coder=coder,
                    encode_ms=round(encode_ms, 5),
                    decode_ms=round(decode_ms, 5),
                )
        tell(1.0)


def _times(
    job: Job, wanted: Sequence[tuple[VariantKey, str]], tell: Callable[[float], None]
) -> dict[tuple[VariantKey, str], tuple[float, float]]:
    """Times of encoding and decoding, ms: medians over the frames of each frame's fastest round.

    A round goes over all settings, so that a disturbance meets one round of many settings and not all of one.
    """
    encoders = Encoders(job.frames)
    variants = {key: encoders.variant(key) for key, _ in wanted}
    frames = encoders.frames()
    images = list(single_images(frames, len(frames[0])))
    fastest = dict.fromkeys(wanted, np.full((len(images), 2), np.inf))
    for number in range(job.settings.timed_rounds):
        for key, coder in wanted:
            found = np.array([_time(variants[key], coder, image) for image in images])
            fastest[key, coder] = np.minimum(fastest[key, coder], found)
        tell((number + 1) / (job.settings.timed_rounds + 1))
    medians = {pair: np.median(times, axis=0) for pair, times in fastest.items()}
    return {pair: (float(encode), float(decode)) for pair, (encode, decode) in medians.items()}


def _time(variant: Variant, coder: str, image: Payload) -> tuple[float, float]:
    begun = time.process_time_ns()
    frame = variant.encode(image, coder)
    between = time.process_time_ns()
    variant.decode(frame, coder)
    return (between - begun) / 1e6, (time.process_time_ns() - between) / 1e6


def confidence(answers: Floats) -> Floats:
    """Largest softmax probability of each answer, [N]."""
    shifted = np.exp(answers - answers.max(axis=1, keepdims=True))
    largest: Floats = 1.0 / shifted.sum(axis=1)
    return largest
