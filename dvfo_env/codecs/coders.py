"""Entropy coders over packed bytes (zlib, zstd) and indices per channel (rANS), and their safe inverses."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.errors import CodecError

ZLIB_LEVEL = 1
ZSTD_LEVEL = 3
#: At 3 bits and fewer level 1 is smaller too (2-4 % on the features of six images after five blocks of
#: MobileNetV2): it leaves more of the short repeats to the Huffman stage.
ZSTD_FEW_BITS_LEVEL = 1
#: Raw deflate: the frame has a checksum and sizes of its own.
_RAW_DEFLATE = -15
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: No encoder at our level asks for a larger window; a forged frame must not make the decoder allocate one.
_ZSTD_WINDOW_BYTES = 1 << 23

_contexts = threading.local()


def compress(coder: str, data: NDArray[np.uint8], bits: int) -> bytes:
    """Bytes uint8 [n] of values of so many bits, through "zlib" or "zstd", without checksums and sizes."""
    if coder == "zlib":
        deflate = zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
        return deflate.compress(data.data) + deflate.flush()
    level = ZSTD_FEW_BITS_LEVEL if bits <= 3 else ZSTD_LEVEL
    coded: bytes = _zstd("compressor", level).compress(data)
    return coded[len(_ZSTD_MAGIC) :]


def expand(coder: str, payload: memoryview, size: int) -> NDArray[np.uint8]:
    """The inverse: uint8 [size]. Raises CodecError when the payload is anything but exactly that much data.

    Never allocates more than `size` bytes and a window of 8 MiB, whatever the payload claims.
    """
    data = _inflate(payload, size) if coder == "zlib" else _zstd_expand(payload, size)
    if len(data) != size:
        raise CodecError(f"frame: {coder} payload holds {len(data)} bytes instead of {size}")
    return np.frombuffer(data, np.uint8)


def _inflate(payload: memoryview, size: int) -> bytes:
    inflate = zlib.decompressobj(_RAW_DEFLATE)
    try:
        data = inflate.decompress(payload, size + 1)
    except zlib.error as error:
        raise CodecError(f"frame: zlib payload: {error}") from None
    if not inflate.eof or inflate.unused_data:
        raise CodecError("frame: zlib payload does not end where it should")
    return data


def _zstd_expand(payload: memoryview, size: int) -> bytes:
    zstandard = _package("zstandard", "zstd")
    data = _ZSTD_MAGIC + payload.tobytes()
    try:
        declared = zstandard.get_frame_parameters(data).content_size
        if declared not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise CodecError(f"frame: zstd payload declares {declared} bytes instead of {size}")
        expanded: bytes = _zstd("decompressor").decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CodecError(f"frame: zstd payload: {error}") from None
    return expanded


def _zstd(role: str, level: int = 0) -> Any:
    """The compressor or decompressor of the thread; making one takes longer than a small tensor."""
    name = f"{role}{level}"
    made = getattr(_contexts, name, None)
    if made is None:
        zstandard = _package("zstandard", "zstd")
        if role == "compressor":
            made = zstandard.ZstdCompressor(
                level=level, write_content_size=False, write_checksum=False, write_dict_id=False
            )
        else:
            made = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        setattr(_contexts, name, made)
    return made


def rans_encode(
    indices: NDArray[np.uint8], channels: Iterable[int], calibration: ChannelCalibration, bits: int
) -> bytes:
    """Indices uint8 [k, P] of `channels` (k of them), each with its own histogram; little-endian words."""
    coder = _package("constriction", "rans").stream.stack.AnsCoder()
    models = _rans_models(calibration, bits)
    symbols = indices.astype(np.int32)
    for row, channel in zip(symbols[::-1], list(channels)[::-1], strict=True):  # a stack: last in, first out
        coder.encode_reverse(row, models[channel])
    words: NDArray[np.uint32] = coder.get_compressed()
    return words.astype("<u4").tobytes()


def rans_decode(
    payload: memoryview,
    channels: Iterable[int],
    calibration: ChannelCalibration,
    bits: int,
    out: NDArray[np.uint8],
) -> None:
    """The inverse, into `out` uint8 [k, P]. Raises CodecError when words are torn, missing or left over."""
    constriction = _package("constriction", "rans")
    models = _rans_models(calibration, bits)
    if len(payload) % 4:
        raise CodecError(f"frame: rans payload of {len(payload)} bytes is no whole number of words")
    try:
        coder = constriction.stream.stack.AnsCoder(np.frombuffer(payload, "<u4").astype(np.uint32))
        for row, channel in zip(out, channels, strict=True):
            row[:] = coder.decode(models[channel], row.size)
        finished = coder.is_empty()
    except (ValueError, AssertionError) as error:
        raise CodecError(f"frame: rans payload: {error}") from None
    if not finished:
        raise CodecError("frame: rans payload does not end where it should")


@lru_cache(maxsize=64)
def _rans_models(calibration: ChannelCalibration, bits: int) -> tuple[Any, ...]:
    """One categorical model a channel; half a count more an index: none is impossible (Jeffreys prior)."""
    categorical = _package("constriction", "rans").stream.model.Categorical
    histograms = histograms_of(calibration, bits).astype(np.float64) + 0.5
    return tuple(categorical(histogram, perfect=False) for histogram in histograms)


def histograms_of(calibration: ChannelCalibration, bits: int) -> NDArray[np.uint32]:
    """Counts [C, 2**bits]; raises CodecError where the calibration has none at these bits."""
    if bits not in calibration.histograms:
        raise CodecError(f"calibration: histograms: none at {bits} bits, which the rans coder needs")
    return calibration.histograms[bits]


def check_coder(coder: str) -> None:
    """Raise CodecError unless the coder's package is installed."""
    if coder == "zstd":
        _package("zstandard", coder)
    elif coder == "rans":
        _package("constriction", coder)


def _package(name: str, coder: str) -> Any:
    """The coder's package, imported when it is first needed."""
    try:
        return _import(name)
    except ImportError:
        raise CodecError(f"coder {coder}: needs the package {name}: pip install {name}") from None


def _import(name: str) -> Any:
    if name == "zstandard":
        import zstandard

        return zstandard
    import constriction

    return constriction
