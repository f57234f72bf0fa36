"""Codecs of the raw input: what sending the compressed image whole costs, the feature codecs' competitor."""

from __future__ import annotations

import io
import math
import re
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.frame import read_image, write_image
from dvfo_env.errors import CodecError

#: Names worth comparing; any other `jpeg-qN` and `webp-qN` with N from 1 to 100 works as well.
IMAGE_CODECS = (
    "raw",
    "png",
    "webp-lossless",
    *(f"jpeg-q{quality}" for quality in (95, 85, 75, 50, 25, 10)),
    *(f"webp-q{quality}" for quality in (90, 75, 50, 25, 10)),
)
#: Those that give back every pixel.
LOSSLESS_IMAGE_CODECS = ("raw", "png", "webp-lossless")
#: A decoder makes no image with more pixels (16 Mi), whatever a frame declares.
MAX_PIXELS = 1 << 24

Image = NDArray[np.uint8]

#: Families in the order of their numbers in a frame, with the format's name in Pillow.
_FAMILIES = {"raw": "", "png": "PNG", "webp-lossless": "WEBP", "jpeg": "JPEG", "webp": "WEBP"}


class ImageCodec:
    """Encodes images uint8 [H, W, C], C 1 (grey) or 3 (RGB), by name, and decodes frames of any image codec.

    An image that its codec would make longer than it is goes raw, and the frame says so. JPEG is written with
    optimised Huffman tables and Pillow's chroma subsampling (4:2:0). Raises CodecError for an unknown name.
    """

    def __init__(self, name: str, max_pixels: int = MAX_PIXELS) -> None:
        lossy = re.fullmatch(r"(jpeg|webp)-q([1-9][0-9]?|100)", name)
        if name not in LOSSLESS_IMAGE_CODECS and not lossy:
            raise CodecError(f"image codec: {name!r} is not one of {', '.join(IMAGE_CODECS)}")
        self.name = name
        self.max_pixels = max_pixels
        self._family: str = lossy[1] if lossy else name
        self._quality = int(lossy[2]) if lossy else None
        if name != "raw":
            _pillow()

    def encode(self, image: Image) -> bytes:
        """One frame. Raises CodecError when the image is not uint8 [H, W, 1 or 3] or has too many pixels."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
            raise CodecError(f"image codec: {image.dtype} {image.shape} instead of uint8 [H, W, 1 or 3]")
        self._check_pixels(image.shape)
        family, payload = self._family, b""
        if family != "raw":
            payload = self._compressed(image)
        if family == "raw" or len(payload) >= image.size:
            family, payload = "raw", image.tobytes()
        return write_image(list(_FAMILIES).index(family), image.shape, payload)

    def decode(self, frame: bytes) -> Image:
        """The image of a frame that any ImageCodec made. Raises CodecError, and nothing else, for bad bytes.

        The size in our header and the one in the image file must agree, and fit `max_pixels`, before pixels
        are decoded.
        """
        number, shape, payload = read_image(frame)
        if number >= len(_FAMILIES):
            raise CodecError(f"frame: image codec {number} is unknown")
        self._check_pixels(shape)
        family = list(_FAMILIES)[number]
        if family != "raw":
            return _decompressed(payload, shape, _FAMILIES[family])
        if len(payload) != math.prod(shape):
            raise CodecError(f"frame: {len(payload)} bytes of pixels instead of {math.prod(shape)}")
        return np.frombuffer(payload, np.uint8).reshape(shape).copy()

    def _check_pixels(self, shape: tuple[int, ...]) -> None:
        if shape[0] * shape[1] > self.max_pixels:
            raise CodecError(f"image codec: {shape[0]} x {shape[1]} pixels are more than {self.max_pixels}")

    def _compressed(self, image: Image) -> bytes:
        families: dict[str, dict[str, Any]] = {
            "png": {},
            "webp-lossless": {"lossless": True},
            "jpeg": {"quality": self._quality, "optimize": True},
            "webp": {"quality": self._quality},
        }
        pillow = _pillow()
        written = io.BytesIO()
        pixels = image[:, :, 0] if image.shape[2] == 1 else image
        try:
            pillow.fromarray(np.ascontiguousarray(pixels)).save(
                written, _FAMILIES[self._family], **families[self._family]
            )
        except (
            OSError,
            ValueError,
            KeyError,
        ) as error:  # WebP: more than 16383 pixels a side, or not built in
            raise CodecError(f"image codec: {self.name}: {error}") from None
        return written.getvalue()


def _decompressed(payload: memoryview, shape: tuple[int, int, int], file_format: str) -> Image:
    height, width, channels = shape
    if file_format == "WEBP" and _webp_size(payload) != (width, height):
        raise CodecError(f"frame: no WebP image of {width} x {height} pixels")
    pillow = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a damaged file; it raises or decodes
            with pillow.open(io.BytesIO(payload), formats=(file_format,)) as opened:
                if opened.size != (width, height) or opened.mode not in ("L", "RGB"):
                    raise CodecError(
                        f"frame: {opened.mode} image of {opened.size} pixels instead of {(width, height)}"
                    )
                pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except CodecError:
        raise
    except (
        Exception
    ) as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, EOFError ...
        reason = "is none" if isinstance(error, pillow.UnidentifiedImageError) else error
        raise CodecError(f"frame: {file_format} payload: {reason}") from None
    return np.array(pixels).reshape(shape)


def _webp_size(payload: memoryview) -> tuple[int, int] | None:
    """Width and height of a WebP file with one plain image; Pillow allocates them before it tells them.

    Layout: RFC 9649, sections 2.5 (VP8, whose frame header is RFC 6386, 9.1) and 2.6, 3.4 (VP8L).
    """
    head = payload[:30].tobytes()
    if len(head) == 30 and head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        if head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
            width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
            return width, height
        if head[12:16] == b"VP8L" and head[20] == 0x2F:
            packed = int.from_bytes(head[21:25], "little")
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    return None


def _pillow() -> Any:
    """Pillow's Image module, imported when it is first needed."""
    try:
        from PIL import Image as pillow
    except ImportError:
        raise CodecError("image codec: needs the package pillow: pip install pillow") from None
    return pillow
