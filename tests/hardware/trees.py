"""Faithful copies of what some machines show in /sys and /proc, written below a folder.

Files, units and values follow the kernel's own documentation and the boards' tables of clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dvfo_env.hardware.sysfs import SysFs

CPU = "sys/devices/system/cpu"


class ReadOnlySysFs(SysFs):
    """What an ordinary user sees: nothing may be written."""

    def writable(self, path: str) -> bool:
        return False


class Kernel(SysFs):
    """Refuses what a kernel refuses, a lower limit above the upper one, and remembers what was written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: list[tuple[str, str]] = []

    def write(self, path: str, text: str) -> None:
        self.written.append((path, text))
        folder, name = path.rsplit("/", 1)
        for low, high in (("scaling_min_freq", "scaling_max_freq"), ("min_freq", "max_freq")):
            if name == low and int(text) > (self.integer(f"{folder}/{high}") or 0):
                raise OSError(22, "Invalid argument")
            if name == high and int(text) < (self.integer(f"{folder}/{low}") or 0):
                raise OSError(22, "Invalid argument")
        super().write(path, text)


def write(root: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")
    return root


def stat(cpus: int, user: int = 1000, steal: int = 0) -> str:
    lines = [f"cpu{cpu} {user} 0 100 5000 10 0 5 {steal} 0 0" for cpu in range(cpus)]
    return "\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *lines, "procs_running 1"])


def cores(count: int, siblings: int = 1, **per_cpu: object) -> dict[str, object]:
    """Topology files of `count` CPUs, `siblings` hardware threads a core, as numbered on one socket."""
    files: dict[str, object] = {
        f"{CPU}/online": f"0-{count - 1}",
        f"{CPU}/present": f"0-{count - 1}",
        f"{CPU}/isolated": "",
        "proc/stat": stat(count),
        "proc/loadavg": "0.10 0.20 0.30 1/100 4242",
    }
    physical = count // siblings
    for cpu in range(count):
        same = ",".join(str(cpu % physical + step * physical) for step in range(siblings))
        files[f"{CPU}/cpu{cpu}/topology/core_cpus_list"] = same
        files[f"{CPU}/cpu{cpu}/topology/thread_siblings_list"] = same
    return files


def policy(number: int, cpus: str, khz: tuple[int, ...], governor: str = "schedutil") -> dict[str, object]:
    folder = f"{CPU}/cpufreq/policy{number}"
    return {
        f"{folder}/related_cpus": cpus,
        f"{folder}/scaling_available_frequencies": " ".join(map(str, khz)),
        f"{folder}/scaling_available_governors": "performance schedutil userspace",
        f"{folder}/scaling_governor": governor,
        f"{folder}/scaling_min_freq": khz[0],
        f"{folder}/scaling_max_freq": khz[-1],
        f"{folder}/scaling_cur_freq": khz[0],
        f"{folder}/cpuinfo_min_freq": khz[0],
        f"{folder}/cpuinfo_max_freq": khz[-1],
    }


def raspberry_pi_4(root: Path) -> Path:
    khz = tuple(range(600_000, 1_500_001, 100_000))
    files = cores(4) | policy(0, "0 1 2 3", khz, "ondemand")
    files |= {f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq": 1_500_000 for cpu in range(4)}
    files["proc/device-tree/model"] = "Raspberry Pi 4 Model B Rev 1.2\0"
    return write(root, files)


def jetson_tx2(root: Path) -> Path:
    """Four A57 and two Denver cores of one speed, GPU by devfreq, INA3221 as NVIDIA's 4.9 kernel shows it."""
    khz = (
        345600,
        499200,
        652800,
        806400,
        960000,
        1113600,
        1267200,
        1420800,
        1574400,
        1728000,
        1881600,
        2035200,
    )
    files = cores(6) | policy(0, "0 3 4 5", khz) | policy(1, "1 2", khz)
    files[f"{CPU}/online"] = "0,3-5"  # as shipped: the Denver cores are off
    a57, denver = "0x00000000411fd073", "0x000000004e0f0030"
    for cpu in range(6):
        files[f"{CPU}/cpu{cpu}/regs/identification/midr_el1"] = denver if cpu in (1, 2) else a57
        files[f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq"] = khz[-1]
    gpu = "sys/class/devfreq/17000000.gp10b"
    hz = (114750000, 522750000, 930750000, 1300500000)
    files |= {
        f"{gpu}/available_frequencies": " ".join(map(str, hz)),
        f"{gpu}/governor": "nvhost_podgov",
        f"{gpu}/min_freq": hz[0],
        f"{gpu}/max_freq": hz[-1],
        f"{gpu}/cur_freq": hz[0],
        "proc/device-tree/model": "quill\0",
    }
    chip = "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1"
    for number, (rail, milliwatts) in enumerate(
        (("VDD_IN", 3460), ("VDD_SYS_CPU", 450), ("VDD_SYS_DDR", 1100))
    ):
        files[f"{chip}/rail_name_{number}"] = rail
        files[f"{chip}/in_power{number}_input"] = milliwatts
    return write(root, files)


def jetson_orin_nano(root: Path) -> Path:
    """Two policies of one kind of core, INA3221 through hwmon."""
    khz = (115200, 729600, 1113600, 1510400)
    files = cores(6) | policy(0, "0 1 2 3", khz) | policy(4, "4 5", khz)
    gpu = "sys/class/devfreq/17000000.gpu"
    hz = (306000000, 408000000, 510000000, 624750000)
    files |= {f"{CPU}/cpu{cpu}/cpu_capacity": 1024 for cpu in range(6)}
    files |= {
        f"{gpu}/available_frequencies": " ".join(map(str, hz)),
        f"{gpu}/device/of_node/name": "gpu",
        f"{gpu}/governor": "nvhost_podgov",
        f"{gpu}/min_freq": hz[0],
        f"{gpu}/max_freq": hz[-1],
        f"{gpu}/cur_freq": hz[0],
    }
    chip = "sys/class/hwmon/hwmon1"
    files[f"{chip}/name"] = "ina3221"
    rails = (("VDD_IN", 5000, 900), ("VDD_CPU_GPU_CV", 5000, 200), ("VDD_SOC", 5000, 300))
    for number, (rail, millivolts, milliamperes) in enumerate(rails, start=1):
        files[f"{chip}/in{number}_label"] = rail
        files[f"{chip}/in{number}_input"] = millivolts
        files[f"{chip}/curr{number}_input"] = milliamperes
    files[f"{chip}/in7_label"] = "sum of shunt voltages"
    files[f"{chip}/in7_input"] = 12
    return write(root, files)


def laptop(root: Path, battery: str = "Discharging") -> Path:
    """Intel hybrid: two P cores with SMT, four E cores, intel_pstate, RAPL with psys, a battery."""
    files = cores(8)
    for cpu in range(8):
        same = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}" if cpu < 4 else str(cpu)
        files[f"{CPU}/cpu{cpu}/topology/core_cpus_list"] = same
        files[f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq"] = 4_700_000 if cpu < 4 else 3_500_000
        folder = f"{CPU}/cpufreq/policy{cpu}"
        files |= {
            f"{folder}/related_cpus": cpu,
            f"{folder}/scaling_governor": "powersave",
            f"{folder}/scaling_min_freq": 400_000,
            f"{folder}/scaling_max_freq": 4_700_000 if cpu < 4 else 3_500_000,
            f"{folder}/scaling_cur_freq": 1_200_000,
            f"{folder}/cpuinfo_min_freq": 400_000,
            f"{folder}/cpuinfo_max_freq": 4_700_000 if cpu < 4 else 3_500_000,
        }
    files |= {
        "sys/devices/cpu_core/cpus": "0-3",
        "sys/devices/cpu_atom/cpus": "4-7",
        "proc/cpuinfo": "model name\t: 12th Gen Intel(R) Core(TM) i5-1235U\ncpu MHz\t\t: 1200.000\n",
    }
    rapl = "sys/class/powercap"
    zones = (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram"))
    for zone, name in (*zones, ("intel-rapl:1", "psys")):
        files[f"{rapl}/{zone}/name"] = name
        files[f"{rapl}/{zone}/energy_uj"] = 1_000_000
        files[f"{rapl}/{zone}/max_energy_range_uj"] = 262_143_328_850
    supply = "sys/class/power_supply"
    files |= {
        f"{supply}/AC/type": "Mains",
        f"{supply}/BAT0/type": "Battery",
        f"{supply}/BAT0/status": battery,
        f"{supply}/BAT0/power_now": 6_500_000,
    }
    return write(root, files)


def phone(root: Path) -> Path:
    """Four little, three mid and one big core with capacities; the battery's current is negative."""
    files = cores(8)
    for cpu in range(8):
        files[f"{CPU}/cpu{cpu}/cpu_capacity"] = 325 if cpu < 4 else 871 if cpu < 7 else 1024
    files |= policy(0, "0 1 2 3", (300_000, 1_000_000, 1_800_000))
    files |= policy(4, "4 5 6", (700_000, 1_500_000, 2_400_000))
    files |= policy(7, "7", (800_000, 1_400_000, 2_000_000, 2_800_000))
    supply = "sys/class/power_supply/battery"
    files |= {
        f"{supply}/type": "Battery",
        f"{supply}/status": "Discharging",
        f"{supply}/voltage_now": 4_000_000,
        f"{supply}/current_now": -500_000,
    }
    return write(root, files)


def container(root: Path) -> Path:
    """Two CPUs of a virtual machine: no cpufreq, no powercap, no hwmon."""
    files = cores(2)
    files |= {
        "proc/cpuinfo": "model name\t: Intel(R) Xeon(R) Processor\ncpu MHz\t\t: 2300.000\n",
        "proc/pressure/cpu": "some avg10=1.57 avg60=5.76 avg300=13.24 total=3997307439",
    }
    return write(root, files)
