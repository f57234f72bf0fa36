"""The bytes around every payload: magic, version, checksum, shapes and sizes, checked before allocation.

docs/compression.md has the layout byte by byte. All integers are little-endian; a varint is LEB128,
seven bits a byte, the lowest first, at most five bytes and no more than needed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.calibration import DIGEST_BYTES
from dvfo_env.codecs.settings import BITS, CODERS
from dvfo_env.errors import CodecError

MAGIC = b"DVF"
VERSION = 1
#: What a frame holds, by its number.
FEATURES, IMAGE, BOTTLENECK = 1, 2, 3
#: A decoder that knows no calibration, or several, makes no more than this (256 MiB).
MAX_BYTES = 1 << 28
MAX_TENSORS = 255
#: Bytes of magic, version, kind, codec and checksum.
PREFIX_BYTES = 10

_MAX_AXES = 8
_DIGEST_FLAG, _MASK_FLAG, _CODER_BITS = 0x10, 0x20, 0x0F


@dataclass(frozen=True)
class TensorPart:
    """One tensor of a feature frame: its header's fields and its payload."""

    shape: tuple[int, ...]
    coder: str
    digest: bytes | None
    kept: int
    mask: bytes | None
    payload: bytes | memoryview

    def header(self) -> bytes:
        """As it stands in the frame."""
        flags = CODERS.index(self.coder)
        head = bytes([len(self.shape)]) + b"".join(varint(size) for size in self.shape)
        if self.digest is not None:
            flags |= _DIGEST_FLAG
            head += self.digest + varint(self.kept)
        if self.mask is not None:
            flags |= _MASK_FLAG
            head += self.mask
        return bytes([flags]) + head + varint(len(self.payload))


def write_features(kind: int, bits: int, parts: Sequence[TensorPart]) -> bytes:
    """A frame of tensors."""
    body = [bytes([len(parts)]), *(part.header() for part in parts), *(part.payload for part in parts)]
    return _sealed(kind, bits, b"".join(body))


def read_features(frame: bytes, channel_counts: dict[bytes, int]) -> tuple[int, int, list[TensorPart]]:
    """Kind, bits and tensors of a frame of features or of a bottleneck.

    channel_counts: C of each calibration the decoder has; a mask needs it. Raises CodecError.
    """
    kind, bits, reader = _opened(frame)
    if kind == IMAGE:
        raise CodecError("frame: holds an image, not features")
    if bits not in BITS:
        raise CodecError(f"frame: bits: {bits} is not one of {BITS}")
    heads = [_read_part(reader, channel_counts) for _ in range(reader.byte())]
    if reader.left() != sum(length for _, length in heads):
        raise CodecError(f"frame: {reader.left()} bytes of payload instead of {sum(n for _, n in heads)}")
    parts = [TensorPart(*fields, payload=reader.take(length)) for fields, length in heads]
    return kind, bits, parts


def write_image(codec: int, shape: tuple[int, ...], payload: bytes) -> bytes:
    """A frame of one image uint8 [H, W, C]."""
    return _sealed(IMAGE, codec, b"".join(varint(size) for size in shape) + payload)


def read_image(frame: bytes) -> tuple[int, tuple[int, int, int], memoryview]:
    """Number of the codec, (H, W, C) and payload. Raises CodecError."""
    kind, codec, reader = _opened(frame)
    if kind != IMAGE:
        raise CodecError("frame: holds features, not an image")
    shape = (reader.varint(), reader.varint(), reader.varint())
    if 0 in shape or shape[2] not in (1, 3):
        raise CodecError(f"frame: {shape} is no image's height, width and 1 or 3 channels")
    return codec, shape, reader.take(reader.left())


def varint(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def mask_of(channels: NDArray[np.int64], count: int) -> bytes:
    """One bit a channel, channel 0 in the lowest bit of the first byte."""
    kept = np.zeros(count, np.bool_)
    kept[channels] = True
    return np.packbits(kept, bitorder="little").tobytes()


def channels_of(mask: bytes, count: int, kept: int) -> NDArray[np.int64]:
    """The inverse. Raises CodecError unless exactly `kept` bits are set, all below `count`."""
    channels = np.flatnonzero(np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little"))
    if len(channels) != kept or channels[-1] >= count:
        raise CodecError(f"frame: mask: does not name {kept} of {count} channels")
    return channels


def _sealed(kind: int, codec: int, body: bytes) -> bytes:
    start = MAGIC + bytes([VERSION, kind, codec])
    return start + zlib.crc32(body, zlib.crc32(start)).to_bytes(4, "little") + body


def _opened(frame: bytes) -> tuple[int, int, _Reader]:
    """Kind, codec number and the rest, once magic, version and checksum are right."""
    try:
        view = memoryview(frame).cast("B")
    except TypeError:
        raise CodecError(f"frame: is {type(frame).__name__}, not bytes") from None
    if len(view) <= PREFIX_BYTES or view[:3] != MAGIC:
        raise CodecError(f"frame: {len(view)} bytes do not begin like a frame of this project")
    if view[3] != VERSION:
        raise CodecError(f"frame: version {view[3]}; this decoder reads version {VERSION}")
    if zlib.crc32(view[PREFIX_BYTES:], zlib.crc32(view[:6])) != int.from_bytes(
        view[6:PREFIX_BYTES], "little"
    ):
        raise CodecError("frame: checksum does not fit: bytes are damaged or missing")
    if view[4] not in (FEATURES, IMAGE, BOTTLENECK):
        raise CodecError(f"frame: kind {view[4]} is unknown")
    return view[4], view[5], _Reader(view, PREFIX_BYTES)


def _read_part(
    reader: _Reader, channel_counts: dict[bytes, int]
) -> tuple[tuple[tuple[int, ...], str, bytes | None, int, bytes | None], int]:
    """Fields of a TensorPart before its payload, and the payload's length."""
    flags, axes = reader.byte(), reader.byte()
    if flags & _CODER_BITS >= len(CODERS) or flags & ~(_CODER_BITS | _DIGEST_FLAG | _MASK_FLAG):
        raise CodecError(f"frame: coder and flags {flags:#04x} are unknown")
    if not 1 <= axes <= _MAX_AXES:
        raise CodecError(f"frame: shape: {axes} axes instead of 1 to {_MAX_AXES}")
    shape = tuple(reader.varint() for _ in range(axes))
    if math.prod(shape) == 0:
        raise CodecError(f"frame: shape: {shape} is empty")
    digest, kept, mask = None, 0, None
    if flags & _DIGEST_FLAG:
        digest = reader.take(DIGEST_BYTES).tobytes()
        kept = reader.varint()
        if digest not in channel_counts:
            raise CodecError(f"frame: made with calibration {digest.hex()}, which this decoder does not have")
        if not 1 <= kept <= channel_counts[digest]:
            raise CodecError(f"frame: {kept} channels kept of {channel_counts[digest]}")
    if flags & _MASK_FLAG:
        if digest is None:
            raise CodecError("frame: a mask without a calibration")
        mask = reader.take((channel_counts[digest] + 7) // 8).tobytes()
    return (shape, CODERS[flags & _CODER_BITS], digest, kept, mask), reader.varint()


class _Reader:
    """A position in a frame that never passes its end."""

    def __init__(self, view: memoryview, position: int) -> None:
        self._view = view
        self._position = position

    def left(self) -> int:
        return len(self._view) - self._position

    def take(self, count: int) -> memoryview:
        if count > self.left():
            raise CodecError(f"frame: ends {count - self.left()} bytes too early")
        self._position += count
        return self._view[self._position - count : self._position]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift) or value >= 2**32:
                    break
                return value
        raise CodecError("frame: a number is not in its shortest form or above 2**32 - 1")
