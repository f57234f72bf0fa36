"""What a feature codec is told: share of channels kept, bits a value, entropy coder; and its one spelling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from dvfo_env.errors import CodecError

#: Bits a value: 32 is lossless, 16 is IEEE half precision, the others go through a quantiser.
BITS = (32, 16, 8, 6, 4, 3, 2)
#: Those of them that need calibrated ranges.
QUANTISED_BITS = (8, 6, 4, 3, 2)
#: Entropy coders, in the order of their numbers in a frame.
CODERS = ("none", "zlib", "zstd", "rans")

#: A keep ratio is a fraction with a denominator up to this, so that its name is exact.
_LARGEST_DENOMINATOR = 64


@dataclass(frozen=True)
class FeatureSetting:
    """One compression level of a feature codec.

    keep: share of the channels that is sent, in (0, 1], a fraction with a denominator of 64 at most
    bits: bits a value, one of 32 (lossless), 16 (half precision), 8, 6, 4, 3, 2
    coder: "none", "zlib", "zstd" or "rans" (the last for 8 bits and fewer)

    Raises CodecError when one of them is something else.
    """

    keep: float = 1.0
    bits: int = 32
    coder: str = "none"

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise CodecError(f"codec setting: bits: {self.bits} is not one of {_listed(BITS)}")
        if self.coder not in CODERS:
            raise CodecError(f"codec setting: coder: {self.coder!r} is not one of {_listed(CODERS)}")
        if self.coder == "rans" and self.bits not in QUANTISED_BITS:
            raise CodecError(
                f"codec setting: coder: rans codes {_listed(QUANTISED_BITS)} bits, not {self.bits}"
            )
        if not 0 < self.keep <= 1:
            raise CodecError(f"codec setting: keep: {self.keep} is not in (0, 1]")
        if abs(self._fraction() - self.keep) > 1e-9:
            raise CodecError(
                f"codec setting: keep: {self.keep} has no denominator up to {_LARGEST_DENOMINATOR}"
            )

    def _fraction(self) -> Fraction:
        return Fraction(self.keep).limit_denominator(_LARGEST_DENOMINATOR)

    @property
    def name(self) -> str:
        """The one spelling: "int4-keep1/4-zstd", "fp16-keep1-zlib", "fp32-keep1-none"."""
        return f"{'fp' if self.bits >= 16 else 'int'}{self.bits}-keep{self._fraction()}-{self.coder}"

    @classmethod
    def parse(cls, name: str) -> FeatureSetting:
        """The setting of a `name`; a missing "keep" part ("int4-zstd") means every channel.

        Raises CodecError when the name is not one that `name` would give.
        """
        parts = name.split("-")
        if len(parts) == 2:
            parts.insert(1, "keep1")
        try:
            values, keep, coder = parts
            setting = cls(
                keep=float(Fraction(keep.removeprefix("keep"))),
                bits=int(values.removeprefix("fp").removeprefix("int")),
                coder=coder,
            )
        except (ValueError, ZeroDivisionError):
            raise CodecError(f"codec setting: {name!r} is not spelled like int4-keep1/4-zstd") from None
        if setting.name != "-".join(parts):
            raise CodecError(f"codec setting: {name!r} is spelled {setting.name!r}")
        return setting


def kept_channels(keep: float, channels: int) -> int:
    """How many of `channels` a share of `keep` means: rounded up, at least one."""
    return max(1, math.ceil(keep * channels - 1e-9))


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values)
