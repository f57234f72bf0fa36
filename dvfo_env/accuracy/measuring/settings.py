"""What a measurement tries at every cut, and which of it is hopeless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dvfo_env.codecs import BITS, CODERS, IMAGE_CODECS
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import WorkloadCard

#: Rankings whose importance is computed anew for every input: the same module as the name before the dash.
PER_INPUT = "-dynamic"

#: Every ranking that can be measured.
RANKINGS = ("magnitude", "variance", "taylor", "attention", f"attention{PER_INPUT}")

#: What stands in a table where no channels are dropped, so no ranking takes part.
NO_RANKING = ""

#: Kinds of variants.
FEATURE, BOTTLENECK, IMAGE = "feature", "bottleneck", "image"


_OPTIONS = {
    "cuts": "--cuts",
    "rankings": "--rankings",
    "keeps": "--keep",
    "bits": "--bits",
    "dropped_bits": "--dropped-bits",
    "coders": "--coders",
}


@dataclass(frozen=True)
class VariantKey:
    """What decides the answer: everything but the entropy coder, which loses nothing.

    `channels` is the width of a bottleneck, `image` the name of an image codec.
    """

    kind: str
    ranking: str = NO_RANKING
    keep: float = 1.0
    bits: int = 8
    channels: int = 0
    image: str = ""

    @property
    def text(self) -> str:
        """One spelling, for logs and for the per-image record."""
        if self.kind == IMAGE:
            return self.image
        if self.kind == BOTTLENECK:
            return f"bottleneck{self.channels}-{_bits(self.bits)}"
        kept = "" if self.keep == 1.0 else f"-keep1/{round(1 / self.keep)}-{self.ranking}"
        return f"{_bits(self.bits)}{kept}"

    def milder_than(self, other: VariantKey) -> bool:
        """Whether `other` sends at most as much of everything, and less of something, in the same way."""
        if self.kind != other.kind or self.kind == IMAGE or self == other:
            return False
        alike = self.ranking == other.ranking or self.keep == 1.0
        return (
            alike and self.keep >= other.keep and self.bits >= other.bits and self.channels >= other.channels
        )


def _bits(bits: int) -> str:
    return f"fp{bits}" if bits >= 16 else f"int{bits}"


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        cuts: names of cuts; empty for all that send fewer elements than the input, and the input.
        rankings: for keep ratios below 1, of `RANKINGS`.
        keeps: shares of channels kept.
        bits: bits an element; where channels are dropped, those of `dropped_bits` among them.
        coders: entropy coders.
        image_codecs: at the input.
        bottlenecks: widths of learned bottlenecks, as shares of a cut's channels; `bottleneck_bits` their
            bits.
        images: at most so many test images; None for all.
        calibration_images: images of the training split that ranges, rankings and bottlenecks are made from.
        bytes_images: at most so many test images are encoded to count bytes.
        timed_frames: frames whose encoding and decoding is timed, in each of `timed_rounds` rounds.
        hopeless_agreement: a setting is left out where a milder one agreed with the uncompressed network on
            less than this share of the pilot images. What compares rankings is always measured: the most
            bits at keep ratios of `always_keep` and more.
        pilot_images: the first images, which decide that: a fifth of all, from 40 to this many.
    """

    cuts: tuple[str, ...] = ()
    rankings: tuple[str, ...] = RANKINGS
    keeps: tuple[float, ...] = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
    bits: tuple[int, ...] = (32, 16, 8, 6, 4, 3, 2)
    dropped_bits: tuple[int, ...] = (8, 4, 2)
    coders: tuple[str, ...] = ("none", "zlib", "zstd", "rans")
    image_codecs: tuple[str, ...] = ()
    bottlenecks: tuple[float, ...] = ()
    bottleneck_bits: tuple[int, ...] = (8, 6, 4, 3)
    images: int | None = None
    calibration_images: int = 512
    bytes_images: int = 500
    timed_frames: int = 5
    timed_rounds: int = 9
    hopeless_agreement: float = 0.5
    pilot_images: int = 500
    always_keep: float = 1 / 4

    #: What must be equal for logs to be continued; the others only say what to measure.
    DECIDING: ClassVar[tuple[str, ...]] = (
        "calibration_images",
        "bytes_images",
        "timed_frames",
        "pilot_images",
    )

    def __post_init__(self) -> None:
        if any(not 0.0 < keep <= 1.0 for keep in self.keeps):
            raise ConfigError(f"--keep: {self.keeps}: shares above 0 and at most 1")
        for option, values, known in (
            ("--rankings", self.rankings, RANKINGS),
            ("--bits", self.bits, BITS),
            ("--dropped-bits", self.dropped_bits, BITS),
            ("--coders", self.coders, CODERS),
        ):
            unknown = [value for value in values if value not in known]
            if unknown:
                raise ConfigError(f"{option}: {unknown[0]} is none of {', '.join(map(str, known))}")
        for name in ("calibration_images", "bytes_images", "timed_frames", "timed_rounds", "pilot_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)} is below 1")
        if self.images is not None and self.images < 1:
            raise ConfigError(f"--images: {self.images} is below 1")

    def as_options(self) -> str:
        """What `dvfo accuracy measure` is told to get these settings; nothing for the usual ones."""
        usual, words = Settings(), []
        for name, option in _OPTIONS.items():
            values = getattr(self, name)
            if values != getattr(usual, name):
                words.append(f"{option} {','.join(map(_text, values))}")
        if self.bottlenecks:
            words.append("--bottleneck")
        for name in ("images", "bytes_images"):
            if getattr(self, name) != getattr(usual, name):
                words.append(f"--{name.replace('_', '-')} {getattr(self, name)}")
        return "".join(f" {word}" for word in words)

    def features(self) -> list[VariantKey]:
        """Feature settings, mildest first."""
        keeps, bits = sorted(self.keeps, reverse=True), sorted(self.bits, reverse=True)
        keys = [VariantKey(FEATURE, NO_RANKING, 1.0, width) for width in bits if 1.0 in keeps]
        for keep in keeps:
            if keep < 1.0:
                for ranking in self.rankings:
                    dropped = [width for width in bits if width in self.dropped_bits]
                    keys += [VariantKey(FEATURE, ranking, keep, width) for width in dropped]
        return keys

    def keys_at(self, card: WorkloadCard, cut: int) -> list[VariantKey]:
        """Settings at a cut of a card, mildest first: image codecs at the input, features elsewhere."""
        if cut == 0:
            return [VariantKey(IMAGE, image=name) for name in (self.image_codecs or IMAGE_CODECS)]
        tensors = card.cuts[cut].tensors
        keys = self.features()
        if len(tensors) == 1:
            shape = tensors[0].shape
            keys += self._bottlenecks(shape[-1] if len(shape) == 2 else shape[0])
        return keys

    def always(self, key: VariantKey) -> bool:
        """Whether a setting is measured however badly milder ones do."""
        widest = max(set(self.bits) & set(self.dropped_bits), default=0)
        return key.kind == FEATURE and key.keep >= self.always_keep and key.bits == widest

    def _bottlenecks(self, channels: int) -> list[VariantKey]:
        widths = sorted({max(1, round(share * channels)) for share in self.bottlenecks}, reverse=True)
        return [
            VariantKey(BOTTLENECK, bits=bits, channels=width)
            for width in widths
            for bits in sorted(self.bottleneck_bits, reverse=True)
        ]


def _text(value: str | float) -> str:
    """A value of a list as an option takes it: keep ratios as fractions."""
    if isinstance(value, float):
        return "1" if value == 1.0 else f"1/{round(1 / value)}"
    return str(value)


def hopeless_because(
    key: VariantKey, settings: Settings, agreement: Mapping[VariantKey, float]
) -> VariantKey | None:
    """The mildest setting that already failed on the pilot images, or None where `key` is to be measured."""
    if settings.always(key):
        return None
    for milder, share in agreement.items():
        if share < settings.hopeless_agreement and milder.milder_than(key):
            return milder
    return None
