"""How long the reference encoding takes on a device: its time on one machine, carried over by 7-Zip.

Nobody ran our encoder on these boards. Encoding is integer and table work in one thread: with numpy's AVX
switched off the reference encoding takes as long as with it, while networks take 1.4 to 2.2 times as long. So
it is carried over by a program of its own kind, 7-Zip (compressing and decompressing in one thread), whose
speed on one core is published for these boards, and not by the ncnn networks, whose speed follows the width
of the vector units. The networks' ratio stands in the note and, where it lies outside, widens the range.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import geometric_mean
from typing import NamedTuple

from dvfo_env.calibration.ncnn_tables import NCNN_SOURCE, BenchRow
from dvfo_env.devices.profile import Fit
from dvfo_env.record_yaml import rounded
from dvfo_env.schema import Coefficient

SBC_BENCH = "ThomasKaiser/sbc-bench"
ENCODER = "encoder-speed"
"""What a profile calls the fit of its encoder's speed among those that support it."""

Run = Mapping[str, BenchRow]


class SevenZip(NamedTuple):
    """7-Zip 16.02 on one core, dictionary of 4 MiB (22 bits), in its MIPS of processor time; clock in MHz."""

    compressing: float
    decompressing: float
    mhz: float
    source: str


class Here(NamedTuple):
    """What the machine that carries over was measured at; `python -m dvfo_env.calibration.encoder_here`.

    All are medians of three rounds, in processor time. `spread` bounds the product of the reference's time
    and 7-Zip's speed over other rounds and other ways to pair them (means; both at once on one core).
    """

    machine: str
    reference_ms: float
    seven_zip: SevenZip
    network_ms: Mapping[str, float]
    spread: tuple[float, float]


HERE = Here(
    machine="Intel Xeon (family 6, model 207: Emerald Rapids), one of two virtual cores, shared and busy",
    reference_ms=0.0840,
    seven_zip=SevenZip(3007.0, 3080.0, 0.0, "npm 7zip-bin 4.1.0: 7za b -mmt1 -md=22"),
    network_ms={"squeezenet": 8.27, "mobilenet_v2": 10.25, "resnet18": 35.26, "resnet50": 83.37},
    spread=(0.83, 1.15),
)

SEVEN_ZIP: Mapping[str, SevenZip] = {
    "raspberry-pi-zero-2w": SevenZip(
        573.0, 1103.0, 1000.0, "f473f583ebc85a7ee98d77ef3d9f1a9bc5a178b7:results/3E85.txt, 32-bit programs"
    ),
    "raspberry-pi-3b-plus": SevenZip(
        692.0, 1466.0, 1400.0, "f473f583ebc85a7ee98d77ef3d9f1a9bc5a178b7:results/1iI5.txt, 32-bit programs"
    ),
    "raspberry-pi-4b": SevenZip(
        1594.0, 1902.0, 1800.0, "30d1e101d60c000130ace4fba5ca167739c30665:results/3F9C.txt"
    ),
    "raspberry-pi-5": SevenZip(
        3177.0, 3365.0, 2400.0, "17a778b66c84b299158fc33a1f4e565c3a2d70ce:results/8-NK.txt"
    ),
    "jetson-nano": SevenZip(
        1570.0, 1500.0, 1479.0, "5a56acb3b518b882e3412393dda583b4263e5f17:results/4rLX.txt"
    ),
    "jetson-xavier-nx": SevenZip(
        2021.0, 2178.0, 1907.2, "0267f0bf59a439f27035e0b9332efec7642c0a12:results/3YWp.txt"
    ),
    "jetson-agx-xavier": SevenZip(
        2531.0, 2771.0, 2265.6, "f1ec1b38ab442f8d5562785a4d8ea6f2d3ba7b87:results/4ebH.txt"
    ),
    "jetson-orin-nano": SevenZip(
        1996.0, 2397.0, 1510.4, "f16c582b0ed134517a568356a3b80a4975bced4f:results/4vy7.txt"
    ),
    "jetson-orin-agx": SevenZip(
        2988.0, 3491.0, 2201.6, "016ba180ed52ee8073ff4411b2f71b59b2d7fd72:results/4ax9.txt"
    ),
    "phone-snapdragon835": SevenZip(
        2286.0, 2633.0, 2360.0, "2e7e88ae02fe5d7c6cde07c059fd68c68c891ff1:results/4fdD.txt, a big core"
    ),
}
"""Profile -> what one of its cores reached, read off one board each."""


class Relative(NamedTuple):
    """A device without figures of its own: whose core stands in, at which clock, and why; range as factors.

    `mhz` is the clock of a device whose profile has none, else None.
    """

    of: str
    mhz: float | None
    low: float
    high: float
    why: str


_A76 = (
    "a core of the Cortex-A76 family; of ten results on two chips nine lie within 6 % of their mean per GHz"
)
RELATIVES: Mapping[str, Relative] = {
    "raspberry-pi-2b": Relative(
        "raspberry-pi-zero-2w", None, 0.8, 1.3, "the same core (Cortex-A53, inferred for this board)"
    ),
    "jetson-tx2": Relative(
        "jetson-nano", None, 0.7, 1.25,
        "the same core (Cortex-A57); per GHz it is 7 % slower at 2.0 GHz on the Nano's chip; a Denver2 core"
        " may be faster",
    ),
    "jetson-tx2-nx": Relative("jetson-nano", None, 0.7, 1.25, "as on the TX2, the same chip"),
    "phone-snapdragon855": Relative("raspberry-pi-5", 2840.0, 0.8, 1.3, _A76),
    "phone-pixel4": Relative("raspberry-pi-5", 2840.0, 0.8, 1.3, f"Snapdragon 855, {_A76}"),
    "phone-kirin990": Relative("raspberry-pi-5", 2860.0, 0.8, 1.3, _A76),
    "phone-galaxy-s10": Relative(
        "raspberry-pi-5", 2730.0, 0.7, 1.6, "an Exynos M4 core, taken to be a Cortex-A76's equal per GHz"
    ),
    "phone-snapdragon710": Relative(
        "raspberry-pi-5", 2200.0, 0.9, 1.8, "its core is of the family before, Cortex-A75"
    ),
}  # fmt: skip
"""Profile -> whose core stands in for its own."""


class Encoder(NamedTuple):
    """Time of the reference encoding on one core at 1 GHz (ms*GHz), and the fit behind it, if any."""

    coefficient: Coefficient
    fit: Fit | None

    def supporting(self) -> dict[str, Fit]:
        """The fit under its name in a profile; empty where the time is assumed."""
        return {ENCODER: self.fit} if self.fit else {}


def encoder(device: str, run: Run | None = None) -> Encoder:
    """Encoding on one core of a device; `run` is its ncnn run on one thread, where there is one.

    A device whose profile knows no CPU clock gets the time at its own clock (as at 1 GHz).
    """
    if device in RELATIVES:
        return Encoder(rounded(_of_a_relative(RELATIVES[device])), None)
    speed = SEVEN_ZIP[device]
    phone = device.startswith("phone-")
    ghz = 1.0 if phone else speed.mhz / 1000.0
    pairs = zip(HERE.seven_zip[:2], speed[:2], strict=True)
    ratios = [here / there for here, there in pairs]
    middle = geometric_mean(ratios)
    error = sum(abs(ratio / middle - 1.0) for ratio in ratios) / 2.0
    held = [abs(ratios[0] / ratios[1] - 1.0), abs(ratios[1] / ratios[0] - 1.0)]
    ends = [min(ratios) * HERE.spread[0], max(ratios) * HERE.spread[1]]
    note = (
        f"{HERE.reference_ms:g} ms on the machine of {__name__}, one core of which runs 7-Zip"
        f" {middle:.2f} times as fast; nobody ran the encoder on this board"
    )
    networks = [run[name].avg_ms / ms for name, ms in HERE.network_ms.items() if run and name in run]
    if networks:
        vector = geometric_mean(networks)
        ends += [min(vector, ends[0]), max(vector, ends[1])]
        note += f"; convolutions ({len(networks)} ncnn networks) {vector:.2f} times, which the range includes"
    scale = HERE.reference_ms * ghz
    source = f"{SBC_BENCH}@{speed.source}" + (f"; {NCNN_SOURCE}" if networks else "")
    coefficient = Coefficient(
        value=scale * middle,
        unit="ms*GHz",
        evidence="fitted",
        source=source,
        error_percent=100.0 * error,
        holdout_error_percent=50.0 * sum(held),
        range=(scale * min(ends), scale * max(ends)),
        note=note,
    )
    fit = Fit(
        points=2,
        conditions="one core against another by 7-Zip compressing and decompressing, one thread",
        error_percent=100.0 * error,
        holdout_error_percent=50.0 * sum(held),
        holdout_worst_percent=100.0 * max(held),
        holdout_method="each of the two programs told from the other; the encoder itself was never run there",
    )
    return Encoder(rounded(coefficient), rounded(fit))


def _of_a_relative(relative: Relative) -> Coefficient:
    other = encoder(relative.of).coefficient
    value = other.value / (relative.mhz / 1000.0 if relative.mhz else 1.0)
    clock = f" at {relative.mhz / 1000.0:g} GHz" if relative.mhz else ""
    return Coefficient(
        value=value,
        unit="ms*GHz",
        evidence="assumed",
        source=other.source,
        range=(relative.low * value, relative.high * value),
        note=f"the {relative.of}'s{clock}: {relative.why}",
    )
