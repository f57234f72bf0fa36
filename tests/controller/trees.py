"""Simulated boards: what their /sys and /proc hold, built from one description each.

Clock tables, paths, rails and their differences between system releases are those of the boards' public
scripts and listings: NVIDIA's jetson_clocks and nvpmodel, jetson_stats, zTT, kernel documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.hardware.trees import CPU, cores, policy, write

MHZ = 1_000_000
BPMP = "sys/kernel/debug/bpmp/debug"


def steps(first: int, last: int, step: int, *more: int) -> tuple[int, ...]:
    return (*range(first, last + 1, step), *more)


@dataclass(frozen=True)
class Machine:
    """One board: everything that `build` turns into files. Clocks in MHz except `policies` (kHz)."""

    model: str
    policies: tuple[tuple[str, tuple[int, ...]], ...]
    capacities: tuple[int, ...] = ()
    governor: str = "schedutil"
    lists_clocks: bool = True
    gpu: str | None = None
    gpu_mhz: tuple[float, ...] = ()
    gpu_of_node: str | None = None
    gpu_in_class: bool = True
    memory: str | None = None
    memory_mhz: tuple[float, ...] = ()
    rails: tuple[tuple[str, int, int], ...] = ()
    rails_by: str | None = None
    zones: tuple[tuple[str, float, float | None], ...] = ()
    more: dict[str, object] = field(default_factory=dict)


def build(machine: Machine, root: Path) -> Path:
    files: dict[str, object] = cores(sum(len(cpus.split()) for cpus, _ in machine.policies))
    files["proc/device-tree/model"] = f"{machine.model}\0"
    files["proc/sys/kernel/sched_energy_aware"] = 1
    for cpus, khz in machine.policies:
        files |= _policy(machine, cpus, khz)
    for cpu, capacity in enumerate(machine.capacities):
        files[f"{CPU}/cpu{cpu}/cpu_capacity"] = capacity
    if machine.gpu:
        files |= _devfreq(machine.gpu, machine.gpu_mhz, machine.gpu_of_node)
    files |= _memory(machine)
    files |= _rails(machine)
    for number, (kind, celsius, limit) in enumerate(machine.zones):
        files |= _zone(number, kind, celsius, limit)
    write(root, files | machine.more)
    if machine.gpu and machine.gpu_in_class:  # as the kernel has it: the class holds links to devices
        link = root / "sys/class/devfreq" / machine.gpu.rsplit("/", 1)[-1]
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(root / machine.gpu)
    return root


def _policy(machine: Machine, cpus: str, khz: tuple[int, ...]) -> dict[str, object]:
    number = int(cpus.split()[0])
    files = policy(number, cpus, khz, machine.governor)
    files |= {f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq": khz[-1] for cpu in cpus.split()}
    if not machine.lists_clocks:  # as intel_pstate: a range and no list
        del files[f"{CPU}/cpufreq/policy{number}/scaling_available_frequencies"]
    return files


def _devfreq(folder: str, mhz: tuple[float, ...], of_node: str | None) -> dict[str, object]:
    hz = [round(value * MHZ) for value in mhz]
    files: dict[str, object] = {
        f"{folder}/available_frequencies": " ".join(map(str, hz)),
        f"{folder}/governor": "nvhost_podgov",
        f"{folder}/min_freq": hz[0],
        f"{folder}/max_freq": hz[-1],
        f"{folder}/cur_freq": hz[0],
    }
    return files | ({f"{folder}/device/of_node/name": f"{of_node}\0"} if of_node else {})


def _memory(machine: Machine) -> dict[str, object]:
    if not machine.memory:
        return {}
    hz = [round(value * MHZ) for value in machine.memory_mhz]
    if machine.memory == "tegra210":
        folder = "sys/kernel/debug/clk/override.emc"
        return {
            f"{folder}/clk_update_rate": hz[-1],
            f"{folder}/clk_state": 0,
            f"{folder}/clk_rate": hz[-1],
            "sys/kernel/debug/tegra_bwmgr/emc_min_rate": hz[0],
            "sys/kernel/debug/tegra_bwmgr/emc_max_rate": hz[-1],
        }
    clock = f"{BPMP}/clk/emc"
    files: dict[str, object] = {
        f"{clock}/mrq_rate_locked": 0,
        f"{clock}/state": 1,
        f"{clock}/rate": hz[-1],
        f"{clock}/min_rate": hz[0],
        f"{clock}/max_rate": hz[-1],
        "sys/kernel/nvpmodel_emc_cap/emc_iso_cap": 0,
    }
    if machine.memory == "tegra194":
        files |= {f"{BPMP}/emc/tables/regular/{value // 1000}": "" for value in hz}
    if machine.memory == "tegra234":
        files[f"{BPMP}/emc/possible_rates"] = " ".join(str(value // 1000) for value in hz) + " (kHz)"
    return files


def _rails(machine: Machine) -> dict[str, object]:
    """INA3221: milliwatts by iio on JetPack 4, millivolts and milliamperes by hwmon on JetPack 5."""
    files: dict[str, object] = {}
    if machine.rails_by == "iio":
        folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
        for number, (rail, millivolts, milliamperes) in enumerate(machine.rails):
            files[f"{folder}/rail_name_{number}"] = rail
            files[f"{folder}/in_power{number}_input"] = millivolts * milliamperes // 1000
            files[f"{folder}/in_current{number}_input"] = milliamperes
            files[f"{folder}/in_voltage{number}_input"] = millivolts
    if machine.rails_by == "hwmon":
        folder = "sys/class/hwmon/hwmon4"
        files |= {f"{folder}/name": "ina3221", f"{folder}/in7_label": "sum of shunt voltages"}
        files[f"{folder}/in7_input"] = 12
        for number, (rail, millivolts, milliamperes) in enumerate(machine.rails, start=1):
            files[f"{folder}/in{number}_label"] = rail
            files[f"{folder}/in{number}_input"] = millivolts
            files[f"{folder}/curr{number}_input"] = milliamperes
    return files


def _zone(number: int, kind: str, celsius: float, limit: float | None) -> dict[str, object]:
    folder = f"sys/class/thermal/thermal_zone{number}"
    files: dict[str, object] = {f"{folder}/type": kind, f"{folder}/temp": round(celsius * 1000)}
    if limit is not None:
        files |= {
            f"{folder}/trip_point_0_type": "critical",
            f"{folder}/trip_point_0_temp": round((limit + 5) * 1000),
            f"{folder}/trip_point_1_type": "passive",
            f"{folder}/trip_point_1_temp": round(limit * 1000),
        }
    return files


TX2_GPU = (114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 854.25, 930.75, 1032.75, 1122.0)
XAVIER_GPU = (114.75, 204.0, 306.0, 408.0, 510.0, 599.25, 701.25, 752.25, 803.25, 854.25, 905.25, 956.25)
NANO_LOW_KHZ = (102_000, 204_000, 307_200, 403_200, 518_400, 614_400, 710_400, 825_600, 921_600)
NANO_KHZ = (*NANO_LOW_KHZ, 1_036_800, 1_132_800, 1_224_000, 1_326_000, 1_428_000, 1_479_000)
NANO_GPU = tuple(76.8 * step for step in range(1, 13))
JETSON_ZONES = (("CPU-therm", 41.5, 97.0), ("GPU-therm", 40.0, 97.0), ("PMIC-Die", 100.0, 120.0))
INPUT_CPU_GPU = (("POM_5V_IN", 5000, 400), ("POM_5V_GPU", 5000, 40), ("POM_5V_CPU", 5000, 120))

NANO = Machine(
    model="NVIDIA Jetson Nano Developer Kit",
    policies=(("0 1 2 3", NANO_KHZ),),
    gpu="sys/devices/57000000.gpu/devfreq/57000000.gpu",
    gpu_mhz=NANO_GPU,
    gpu_in_class=False,
    memory="tegra210",
    memory_mhz=(204.0, 1600.0),
    rails=INPUT_CPU_GPU,
    rails_by="iio",
    zones=(("AO-therm", 42.0, None), *JETSON_ZONES),
)
TX2_KHZ = (345_600, 499_200, *range(652_800, 1_881_601, 153_600), 2_035_200)
TX2 = Machine(
    model="quill",
    policies=(("0 3 4 5", TX2_KHZ), ("1 2", TX2_KHZ)),
    gpu="sys/devices/gpu.0/devfreq/17000000.gp10b",
    gpu_mhz=(*TX2_GPU, 1236.75, 1300.5),
    memory="tegra186",
    memory_mhz=(40.8, 1866.0),
    rails=(("VDD_IN", 19000, 182), ("VDD_SYS_CPU", 19000, 24), ("VDD_SYS_DDR", 5000, 220)),
    rails_by="iio",
    zones=JETSON_ZONES,
)
XAVIER_NX = Machine(
    model="NVIDIA Jetson Xavier NX Developer Kit",
    policies=tuple((f"{cpu} {cpu + 1}", steps(115_200, 1_881_600, 76_800, 1_907_200)) for cpu in (0, 2, 4)),
    gpu="sys/devices/17000000.gv11b/devfreq/17000000.gv11b",
    gpu_mhz=(*XAVIER_GPU, 1007.25, 1058.25, 1109.25),
    memory="tegra194",
    memory_mhz=(204.0, 408.0, 665.6, 800.0, 1065.6, 1331.2, 1600.0),
    rails=(("VDD_IN", 5000, 700), ("VDD_CPU_GPU_CV", 5000, 120), ("VDD_SOC", 5000, 230)),
    rails_by="iio",
    zones=JETSON_ZONES,
)
XAVIER_NX_JETPACK_5 = replace(XAVIER_NX, rails_by="hwmon")
ORIN = Machine(
    model="NVIDIA Orin Nano Developer Kit",
    policies=tuple((cpus, steps(115_200, 1_497_600, 76_800, 1_510_400)) for cpus in ("0 1 2 3", "4 5")),
    gpu="sys/devices/platform/17000000.gpu/devfreq/17000000.gpu",
    gpu_mhz=(306.0, 408.0, 510.0, 612.0, 624.75),
    gpu_of_node="ga10b",
    memory="tegra234",
    memory_mhz=(204.0, 665.6, 2133.0),
    rails=(("VDD_IN", 5000, 900), ("VDD_CPU_GPU_CV", 5000, 200), ("VDD_SOC", 5000, 300), ("NC", 0, 0)),
    rails_by="hwmon",
    zones=(("cpu-thermal", 47.0, 99.0), ("gpu-thermal", -256.0, 99.0), ("tj-thermal", 47.5, 99.0)),
)
RASPBERRY_PI = Machine(
    model="Raspberry Pi 4 Model B Rev 1.2",
    policies=(("0 1 2 3", steps(600_000, 1_500_000, 100_000)),),
    governor="ondemand",
    zones=(("cpu-thermal", 52.0, None),),
    more={
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "critical",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": 110_000,
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0",
    },
)
PHONE = Machine(
    model="Pixel 3a",
    policies=(
        ("0 1 2 3 4 5", (300_000, 576_000, 748_800, 998_400, 1_209_600, 1_324_800, 1_516_800, 1_708_800)),
        ("6 7", (300_000, 652_800, 825_600, 979_200, 1_132_800, 1_363_200, 1_536_000, 1_747_200, 1_996_800)),
    ),
    capacities=(381,) * 6 + (1024,) * 2,
    gpu="sys/class/kgsl/kgsl-3d0/devfreq",
    gpu_mhz=(180.0, 267.0, 355.0, 430.0),
    gpu_in_class=False,
    zones=(
        ("cpu-0-0-usr", 38.0, 95.0),
        ("battery", 31.0, None),
        ("ibat-high", 900.0, None),
        ("soc", 88.0, None),
    ),
    more={
        "sys/class/devfreq/soc:qcom,gpubw/available_frequencies": "762 1144 7980",
        "sys/class/devfreq/soc:qcom,gpubw/min_freq": 762,
        "sys/class/devfreq/soc:qcom,gpubw/max_freq": 7980,
        "sys/class/power_supply/battery/type": "Battery",
        "sys/class/power_supply/battery/status": "Discharging",
        "sys/class/power_supply/battery/capacity": 88,
        "sys/class/power_supply/battery/voltage_now": 4_000_000,
        "sys/class/power_supply/battery/current_now": -500_000,
    },
)
LAPTOP = Machine(
    model="",
    policies=(("0", (400_000, 4_700_000)), ("1", (400_000, 4_700_000))),
    governor="powersave",
    lists_clocks=False,
    zones=(("x86_pkg_temp", 55.0, None), ("acpitz", 50.0, 95.0)),
    more={
        "sys/class/powercap/intel-rapl:0/name": "package-0",
        "sys/class/powercap/intel-rapl:0/energy_uj": 262_143_000_000,
        "sys/class/powercap/intel-rapl:0/max_energy_range_uj": 262_143_328_850,
        "sys/class/power_supply/BAT0/type": "Battery",
        "sys/class/power_supply/BAT0/status": "Discharging",
        "sys/class/power_supply/BAT0/energy_now": 20_000_000,
        "sys/class/power_supply/BAT0/energy_full": 50_000_000,
    },
)

MACHINES = {
    "nano": NANO,
    "tx2": TX2,
    "xavier-nx": XAVIER_NX,
    "xavier-nx-jetpack-5": XAVIER_NX_JETPACK_5,
    "orin": ORIN,
    "raspberry-pi": RASPBERRY_PI,
    "phone": PHONE,
    "laptop": LAPTOP,
}


def contents(root: Path) -> dict[str, str]:
    """Every file below sys/ with what it holds."""
    return {
        str(path.relative_to(root)): path.read_text().strip()
        for path in sorted((root / "sys").rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
