"""Speed of the feature codec: float32 input encoded and decoded a second, on one core, by setting."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_benchmarks.timing import machine, per_second
from dvfo_env.codecs import QUANTISED_BITS, ChannelCalibration, FeatureCodec, FeatureSetting, indices
from dvfo_env.codecs.reference import reference_encode_ms

#: What MobileNetV2 sends after its first stages at 224 px: [C, H, W].
SHAPE = (24, 56, 56)
SETTINGS = (
    *(f"fp32-{coder}" for coder in ("none", "zlib", "zstd")),
    *(f"fp16-{coder}" for coder in ("none", "zlib", "zstd")),
    *(f"int8-{coder}" for coder in ("none", "zlib", "zstd", "rans")),
    *(f"int4-{coder}" for coder in ("none", "zlib", "zstd", "rans")),
    "int4-keep1/4-zstd",
    *("int6-zstd", "int3-zstd", "int2-zstd"),
)


def bench_codec(*, runs: int = 15, seconds: float = 0.02) -> dict[str, Any]:
    """Median MB of float32 input a second of processor time, over `runs` runs of `seconds` each.

    Encoding and decoding run in one thread; processor time is what they take on a core of their own.
    `wall_per_processor_time` says how far from that this machine was; `reference_encode_ms` is the wall time
    of the encoding that device profiles are scaled by.

    The input is synthetic: smooth noise of unlike amplitudes through a ReLU, about half of it zero. Bytes of
    real features differ, and the speed of the entropy coders with them; `dvfo accuracy measure` times those.
    """
    batch = _features(np.random.default_rng(0), 9)
    calibration = _calibrated(batch[1:])
    tensor = batch[0]
    result: dict[str, Any] = {
        "input": f"synthetic float32 {'x'.join(map(str, SHAPE))}",
        "input_bytes": tensor.nbytes,
        "runs": runs,
    }
    speeds: list[dict[str, Any]] = []
    wall, processor = time.perf_counter(), time.process_time()
    for name in SETTINGS:
        codec = FeatureCodec([calibration], FeatureSetting.parse(name))
        frame = codec.encode([tensor])
        encode_s = _seconds(partial(codec.encode, [tensor]), runs, seconds)
        decode_s = _seconds(partial(codec.decode, frame), runs, seconds)
        speeds.append(
            {
                "setting": name,
                "bytes": len(frame),
                "encode_mb_per_s": tensor.nbytes / encode_s / 1e6,
                "decode_mb_per_s": tensor.nbytes / decode_s / 1e6,
            }
        )
    busy = (time.perf_counter() - wall) / (time.process_time() - processor)
    result["wall_per_processor_time"] = busy
    result["reference_encode_ms"] = reference_encode_ms()
    packages = {package: version(package) for package in ("zstandard", "constriction")}
    return {**result, **machine(), **packages, "speeds": speeds}


def _seconds(act: Callable[[], object], runs: int, seconds: float) -> float:
    """Median processor time of a call over `runs` runs, each of as many calls as fill `seconds`."""

    def once() -> int:
        act()
        return 1

    return 1.0 / per_second(once, repeats=runs, seconds=seconds, clock=time.process_time)


def _features(random: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Smooth positive features, float32 [n, *SHAPE]."""
    noise = random.standard_normal((n, *SHAPE))
    for axis in (2, 3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    amplitudes = random.uniform(0.1, 1, SHAPE[0])[:, None, None]
    return np.maximum(noise * amplitudes, 0).astype(np.float32)


def _calibrated(batch: NDArray[np.float32]) -> ChannelCalibration:
    """Ranges, means, histograms and mean of every bin of a batch [N, *SHAPE]; order by mean."""
    c = SHAPE[0]
    by_channel = np.moveaxis(batch, 1, 0).reshape(c, -1)
    low, high, mean = by_channel.min(axis=1), by_channel.max(axis=1), by_channel.mean(axis=1)
    bare = ChannelCalibration(SHAPE, 0, np.argsort(-mean), mean, low, high)
    histograms, points = {}, {}
    for bits in QUANTISED_BITS:
        counted = np.moveaxis(indices(bare, bits, batch), 1, 0).reshape(c, -1)
        both = zip(counted, by_channel, strict=True)
        counts = np.stack([np.bincount(row, minlength=2**bits) for row in counted])
        sums = np.stack([np.bincount(row, values, minlength=2**bits) for row, values in both])
        histograms[bits] = counts.astype(np.uint32)
        points[bits] = (sums / np.maximum(counts, 1)).astype(np.float32)
    return ChannelCalibration(SHAPE, 0, bare.order, mean, low, high, {}, histograms, points)
