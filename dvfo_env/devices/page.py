"""The page of all devices, docs/devices.md, made from the shipped profiles."""

from __future__ import annotations

from importlib.resources import files

from dvfo_env.devices.card import fits_of, opening, percent, power_evidence
from dvfo_env.devices.library import list_devices, load_device
from dvfo_env.devices.profile import ClockDomain, DeviceProfile


def devices_page() -> str:
    """The page as Markdown: `devices.md.j2` filled with every shipped profile."""
    from jinja2 import Environment, StrictUndefined

    profiles = [load_device(name) for name in list_devices()]
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(
        files("dvfo_env.devices").joinpath("devices.md.j2").read_text(encoding="utf-8")
    )
    return template.render(
        catalogue=_table(
            ("device", "CPU, MHz", "GPU, MHz", "memory, MHz", "mappings", "networks", "board power"),
            [_summary(profile) for profile in profiles],
        ),
        errors=_table(
            ("device", "what", "points", "fit", "held out", "worst", "how"),
            [
                (
                    row.device,
                    row.what,
                    str(row.fit.points or ""),
                    percent(row.fit.error_percent),
                    percent(row.fit.holdout_error_percent),
                    percent(row.fit.holdout_worst_percent),
                    row.fit.holdout_method,
                )
                for profile in profiles
                for row in fits_of(profile)
            ],
        ),
        encoding=_table(
            ("device", "ms at 1 GHz", "range", "evidence", "two programs apart", "from"),
            [_encoding(profile) for profile in profiles if profile.encoder_ms_ghz],
        ),
        cards=[(profile, [line.partition(": ")[::2] for line in opening(profile)]) for profile in profiles],
    )


def _encoding(profile: DeviceProfile) -> tuple[str, ...]:
    time = profile.encoder_ms_ghz
    if time is None:
        raise ValueError(f"{profile.name}: no encoder_ms_ghz")
    low, high = time.range or (time.value, time.value)
    source = time.source.partition(";")[0]
    return (
        profile.name,
        f"{time.value:.2g}",
        f"{low:.2g}-{high:.2g}",
        time.evidence,
        percent(time.holdout_error_percent),
        source.rpartition("/")[2] if time.evidence == "fitted" else (time.note or "").partition(":")[0],
    )


def _summary(profile: DeviceProfile) -> tuple[str, ...]:
    return (
        profile.name,
        *(_clocks(domain) for domain in (profile.cpu, profile.gpu, profile.memory)),
        ", ".join(profile.mappings),
        str(len(profile.latency)),
        power_evidence(profile),
    )


def _clocks(domain: ClockDomain | None) -> str:
    if domain is None:
        return "-"
    mhz = domain.mhz
    return f"{mhz[0]:g}" if len(mhz) == 1 else f"{mhz[0]:g}-{mhz[-1]:g} ({len(mhz)})"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; a pipe inside a cell is escaped."""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
