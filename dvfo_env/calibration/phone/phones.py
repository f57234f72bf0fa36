"""What the sources hold on the six phones: chips, core sets, and where their times are in the raw files."""

from __future__ import annotations

from dataclasses import dataclass, field

from dvfo_env.calibration.phone.readers import COLUMNS

GPU = "gpu"


@dataclass(frozen=True)
class Layered:
    """One network timed operation by operation: names of network and phone in the files, and the runtime."""

    network: str
    phone: str
    runtime: str
    mappings: tuple[str, ...] = COLUMNS


@dataclass(frozen=True)
class Phone:
    """What the sources hold on one phone or chip.

    `layered` by workload. `whole` is the device's name in the core-set tables, and `core_sets` its core sets
    by mapping. `ncnn` is the heading of the chip in the ncnn tables, `ncnn_runs` its (threads, GPU) by
    mapping. `copies` names the layered networks that copies are fitted to and held out on.
    """

    name: str
    title: str
    description: str
    cores: dict[str, int]
    out_of_the_box: str
    layered: dict[str, Layered] = field(default_factory=dict)
    whole: str = ""
    core_sets: dict[str, str] = field(default_factory=dict)
    ncnn: str = ""
    ncnn_note: str = ""
    ncnn_runs: dict[str, tuple[int, int]] = field(default_factory=dict)
    copies: tuple[Layered, Layered] | None = None
    copies_borrowed: str = ""


_ASSUMED_POWER = (
    "; the knob is the core mapping: clocks are the governor's and were not recorded; power is assumed."
)
_NCNN_RUNS = {"big1": (1, -1), "big4": (4, -1), GPU: (1, 0)}
_BIG_AND_GPU = COLUMNS[:4]


def _mnn(network: str, phone: str, mappings: tuple[str, ...] = COLUMNS) -> Layered:
    return Layered(network, phone, "MNN, batch 1", mappings)


PHONES = (
    Phone(
        name="phone-snapdragon835",
        title="OnePlus 5T (Snapdragon 835: 4 big + 4 little Kryo 280, Adreno 540)",
        description="Inception-v3 and v4 measured operation by operation on big and little cores and GPU,"
        " other networks on a Pixel 2 XL with the same chip" + _ASSUMED_POWER,
        cores={"big": 4, "little": 4},
        out_of_the_box="big4",
        layered={
            "inception-v3": _mnn("inception-v3", "oneplus5t"),
            "inception-v4": _mnn("inception-v4", "oneplus5t"),
        },
        ncnn="Qualcomm MSM8998",
        ncnn_note="Pixel 2 XL, the same chip; split over segments assumed",
        ncnn_runs=_NCNN_RUNS,
        copies=(_mnn("inception-v4", "oneplus5t"), _mnn("inception-v3", "oneplus5t")),
    ),
    Phone(
        name="phone-kirin990",
        title="Huawei P40 (Kirin 990: 4 big Cortex-A76 + 4 little Cortex-A55, Mali-G76)",
        description="Inception-v3 measured operation by operation on big and little cores and GPU,"
        " Inception-v4 on big cores and GPU" + _ASSUMED_POWER,
        cores={"big": 4, "little": 4},
        out_of_the_box="big4",
        layered={
            "inception-v3": _mnn("inception-v3", "huawei_p40"),
            "inception-v4": Layered(
                "acl-inception_v4", "huawei_p40", "ARM Compute Library, batch 1", _BIG_AND_GPU
            ),
        },
        copies=(_mnn("inception-v4", "huawei_p40"), _mnn("inception-v3", "huawei_p40")),
    ),
    Phone(
        name="phone-snapdragon855",
        title="Snapdragon 855 phone (1 + 3 big Kryo 485, 4 little, Adreno 640)",
        description="Inception-v3 and v4 measured operation by operation on big cores and GPU, other networks"
        " on a Snapdragon 855+ (its first core 4 % faster)" + _ASSUMED_POWER,
        cores={"big": 4, "little": 4},
        out_of_the_box="big4",
        layered={
            "inception-v3": _mnn("inception-v3", "snapdragon_855", _BIG_AND_GPU),
            "inception-v4": _mnn("inception-v4", "snapdragon_855", _BIG_AND_GPU),
        },
        ncnn="Qualcomm SM8150-AC",
        ncnn_note="Snapdragon 855+, its first core 2.96 instead of 2.84 GHz; split over segments assumed",
        ncnn_runs=_NCNN_RUNS,
        copies=(
            _mnn("inception-v4", "snapdragon_855"),
            _mnn("inception-v3", "snapdragon_855"),
        ),
    ),
    Phone(
        name="phone-snapdragon710",
        title="Vivo Z3 and Mi 8 SE (Snapdragon 710: 2 big + 6 little Kryo 360, Adreno 616)",
        description="Inception-v3 and v4 measured operation by operation on a Vivo Z3 (big cores and GPU),"
        " whole networks on a Mi 8 SE (every number of big and little cores, GPU)" + _ASSUMED_POWER,
        cores={"big": 2, "little": 6},
        out_of_the_box="big2",
        layered={
            "inception-v3": _mnn("inception-v3", "vivo_z3", ("big1", "big2", GPU)),
            "inception-v4": _mnn("inception-v4", "vivo_z3", ("big1", "big2", GPU)),
        },
        whole="mi8se",
        core_sets={
            **{f"big{n}": f"{n}large" for n in (1, 2)},
            **{f"little{n}": f"{n}small" for n in range(1, 7)},
            GPU: GPU,
        },
        copies=(_mnn("inception-v4", "vivo_z3"), _mnn("inception-v3", "vivo_z3")),
    ),
    Phone(
        name="phone-pixel4",
        title="Google Pixel 4 (Snapdragon 855: 1 big + 3 middle Kryo 485, 4 little, Adreno 640)",
        description="Whole networks measured on every number of big, middle and little cores and on the GPU"
        + _ASSUMED_POWER,
        cores={"big": 1, "mid": 3, "little": 4},
        out_of_the_box="big1",
        whole="pixel4",
        core_sets={
            "big1": "1large",
            **{f"mid{n}": f"{n}med" for n in (1, 2, 3)},
            **{f"little{n}": f"{n}small" for n in range(1, 5)},
            GPU: GPU,
        },
        copies=(
            _mnn("inception-v4", "snapdragon_855"),
            _mnn("inception-v3", "snapdragon_855"),
        ),
        copies_borrowed="another phone with the same chip",
    ),
    Phone(
        name="phone-galaxy-s10",
        title="Samsung Galaxy S10 (Exynos 9820: 2 big M4 + 2 mid A75 + 4 little A55, Mali-G76)",
        description="Whole networks measured on every number of big, middle and little cores and on the GPU;"
        " no copy between processors was timed, so none can share a request" + _ASSUMED_POWER,
        cores={"big": 2, "mid": 2, "little": 4},
        out_of_the_box="big2",
        whole="s10",
        core_sets={
            **{f"big{n}": f"{n}large" for n in (1, 2)},
            **{f"mid{n}": f"{n}med" for n in (1, 2)},
            **{f"little{n}": f"{n}small" for n in range(1, 5)},
            GPU: GPU,
        },
    ),
)
