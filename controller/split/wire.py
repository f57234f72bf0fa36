"""The protocol between device and server: versioned, length-prefixed frames with checksums, and no pickle.

Every frame is a header of 28 bytes and a payload:

    magic "DVFS" | version u8 | kind u8 | zero u16 | request id u64 | payload bytes u32 | payload CRC-32 u32 |
    header CRC-32 u32

All integers are little-endian. The header has a checksum of its own, so that a damaged length is noticed
before anything is waited for or allocated. docs/split.md has the payloads.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.cutting import Cut, TensorSpec
from dvfo_env.errors import SplitError

MAGIC = b"DVFS"
VERSION = 1

_HEADER = struct.Struct("<4sBBHQII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size
#: Before a session is open nobody may send more.
HELLO_BYTES = 512
#: A cut: at most so many tensors and outputs, and so many bytes in a name.
MOST_NAMES, NAME_BYTES = 255, 1024
PREPARE_BYTES = 1 << 16
#: Cuts that one connection may have prepared; the numbers are 0 to this.
MOST_CUTS = 256
#: Request numbers with this bit are those of PREPARE frames: the rest is the cut's number.
PREPARING = 1 << 63

_REQUEST = struct.Struct("<HHI")
REQUEST_BYTES = _REQUEST.size
_ANSWER = struct.Struct("<IIIIHH")
_TOKEN_LIMIT = 256


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1  # device: digests of model and plan, token
    WELCOME = 2  # server: session open
    PREPARE = 3  # device: a cut and its number
    PREPARED = 4  # server: its tail is ready
    REQUEST = 5  # device: an encoded feature
    ANSWER = 6  # server: outputs
    BUSY = 7  # server: full, or too late for this request
    ERROR = 8  # server: why not


class Refusal(IntEnum):
    """Why a server says no."""

    PROTOCOL = 1  # malformed; the connection ends
    TOKEN = 2  # the token is wrong; the connection ends
    MODEL = 3  # another model or plan; the connection ends
    CUT = 4  # no cut of the model
    FEATURE = 5  # the encoded feature does not fit
    FULL = 6  # too many devices; the connection ends
    FAILED = 7  # the tail could not be run


class WireError(SplitError):
    """Raised when bytes are no frame of this protocol; the connection is of no more use."""


@dataclass(frozen=True)
class Header:
    """A frame's header, checked."""

    kind: Kind
    request: int
    length: int
    crc: int


@dataclass(frozen=True)
class ServerTimes:
    """What the server says about its own time, ms: all of it, waiting, decoding, the tail; and the batch."""

    total_ms: float
    queue_ms: float
    decode_ms: float
    tail_ms: float
    batch: int


def frame(kind: Kind, request: int, *parts: bytes | memoryview) -> bytes:
    """Header and payload as one run of bytes."""
    payload = b"".join(parts)
    start = _HEADER.pack(MAGIC, VERSION, kind, 0, request, len(payload), zlib.crc32(payload))
    return start + _CRC.pack(zlib.crc32(start)) + payload


def read_header(data: bytes | memoryview, limit: int) -> Header:
    """The header in the first HEADER_BYTES bytes; a payload of more than `limit` bytes is refused.

    Raises:
        WireError: it is none, or damaged.
    """
    magic, version, kind, zero, request, length, crc = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise WireError("frame: does not begin like one of this protocol")
    if zlib.crc32(memoryview(data)[: _HEADER.size]) != _CRC.unpack_from(data, _HEADER.size)[0]:
        raise WireError("frame: header: checksum does not fit")
    if version != VERSION:
        raise WireError(f"frame: version {version}; this side speaks version {VERSION}")
    if kind not in Kind._value2member_map_ or zero:
        raise WireError(f"frame: kind {kind} is unknown")
    if length > limit:
        raise WireError(f"frame: {length} bytes, more than the {limit} allowed here")
    return Header(Kind(kind), request, length, crc)


def check_payload(header: Header, payload: bytes | memoryview) -> None:
    """Raises WireError when the payload is damaged."""
    if zlib.crc32(payload) != header.crc:
        raise WireError("frame: payload: checksum does not fit")


class FrameReader:
    """Frames out of bytes as they arrive."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()
        self._header: Header | None = None

    @property
    def partial(self) -> bool:
        """Whether a part of a frame has arrived."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> list[tuple[Header, bytes]]:
        """Add bytes; the frames that are complete now. Raises WireError when they are damaged."""
        self._bytes += data
        frames: list[tuple[Header, bytes]] = []
        while True:
            if self._header is None:
                if len(self._bytes) < HEADER_BYTES:
                    return frames
                self._header = read_header(bytes(self._bytes[:HEADER_BYTES]), self._limit)
            end = HEADER_BYTES + self._header.length
            if len(self._bytes) < end:
                return frames
            payload = bytes(self._bytes[HEADER_BYTES:end])
            check_payload(self._header, payload)
            frames.append((self._header, payload))
            del self._bytes[:end]
            self._header = None


def write_hello(model_sha256: str, plan_sha256: str, token: bytes) -> bytes:
    """Payload of HELLO. Raises SplitError when the token is too long."""
    if len(token) > _TOKEN_LIMIT:
        raise SplitError(f"token: {len(token)} bytes, at most {_TOKEN_LIMIT}")
    return bytes.fromhex(model_sha256) + bytes.fromhex(plan_sha256) + token


def read_hello(payload: bytes) -> tuple[str, str, bytes]:
    """Digests of model and plan, hexadecimal, and the token. Raises WireError."""
    if not 64 <= len(payload) <= 64 + _TOKEN_LIMIT:
        raise WireError(f"hello: {len(payload)} bytes")
    return payload[:32].hex(), payload[32:64].hex(), payload[64:]


def write_cut(number: int, cut: Cut) -> bytes:
    """Payload of PREPARE."""
    parts = [struct.pack("<HBB", number, len(cut.tensors), len(cut.answers))]
    for name in (*cut.tensors, *cut.answers):
        encoded = name.encode()
        if len(encoded) > NAME_BYTES:
            raise SplitError(f"cut {cut.name}: a name of more than {NAME_BYTES} bytes")
        parts.append(struct.pack("<H", len(encoded)) + encoded)
    return b"".join(parts)


def read_cut(payload: bytes) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Number, tensors and answers of a cut. Raises WireError."""
    try:
        number, tensors, answers = struct.unpack_from("<HBB", payload)
        at = 4
        names = []
        for _ in range(tensors + answers):
            (length,) = struct.unpack_from("<H", payload, at)
            names.append(payload[at + 2 : at + 2 + length].decode())
            at += 2 + length
    except (struct.error, UnicodeDecodeError):
        raise WireError("cut: is malformed") from None
    if at != len(payload) or number >= MOST_CUTS or not tensors:
        raise WireError("cut: is malformed")
    return number, tuple(names[:tensors]), tuple(names[tensors:])


def write_request(cut: int, budget_ms: float) -> bytes:
    """What stands before the encoded feature in REQUEST."""
    return _REQUEST.pack(cut, 0, min(max(0, round(budget_ms)), 0xFFFFFFFF))


def read_request(payload: bytes) -> tuple[int, float, memoryview]:
    """Number of the cut, budget in ms, and the encoded feature. Raises WireError."""
    if len(payload) <= REQUEST_BYTES:
        raise WireError("request: is too short")
    cut, zero, budget_ms = _REQUEST.unpack_from(payload)
    if zero:
        raise WireError("request: is malformed")
    return cut, float(budget_ms), memoryview(payload)[REQUEST_BYTES:]


def write_answer(times: ServerTimes, outputs: Sequence[NDArray[Any]]) -> bytes:
    """Payload of ANSWER: the server's own times in us, then all values in the model's order."""
    spans = (times.total_ms, times.queue_ms, times.decode_ms, times.tail_ms)
    head = _ANSWER.pack(*(min(round(span * 1e3), 0xFFFFFFFF) for span in spans), times.batch, len(outputs))
    return head + b"".join(_little(value).tobytes() for value in outputs)


def read_answer(payload: bytes, specs: Sequence[TensorSpec]) -> tuple[ServerTimes, dict[str, NDArray[Any]]]:
    """The server's times, and the outputs that `specs` describe, by name. Raises WireError."""
    expected = _ANSWER.size + sum(spec.bytes for spec in specs)
    if len(payload) != expected:
        raise WireError(f"answer: {len(payload)} bytes instead of {expected}")
    total, queue, decode, tail, batch, count = _ANSWER.unpack_from(payload)
    if count != len(specs):
        raise WireError(f"answer: {count} outputs instead of {len(specs)}")
    outputs = {}
    at = _ANSWER.size
    for spec in specs:
        dtype = spec.dtype.newbyteorder("<")
        values = np.frombuffer(payload, dtype, spec.bytes // spec.dtype.itemsize, at)
        outputs[spec.name] = values.astype(spec.dtype).reshape(spec.shape)
        at += spec.bytes
    return ServerTimes(total / 1e3, queue / 1e3, decode / 1e3, tail / 1e3, batch), outputs


def answer_bytes(specs: Sequence[TensorSpec]) -> int:
    """Bytes of an ANSWER frame with these outputs."""
    return HEADER_BYTES + _ANSWER.size + sum(spec.bytes for spec in specs)


def write_error(why: Refusal, message: str) -> bytes:
    """Payload of ERROR."""
    return struct.pack("<H", why) + message.encode()[:400]


def read_error(payload: bytes) -> tuple[Refusal, str]:
    """Why, and one line. Raises WireError."""
    if not 2 <= len(payload) <= 402 or payload[0] not in Refusal._value2member_map_:
        raise WireError("error: is malformed")
    text = payload[2:].decode(errors="replace")
    return Refusal(payload[0]), "".join(c if c.isprintable() else " " for c in text)


def _little(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
