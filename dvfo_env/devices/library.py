"""Where device profiles are found: the shipped ones by name, a user's own by name or path."""

from __future__ import annotations

from pathlib import Path

from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import ConfigError
from dvfo_env.schema import load_yaml
from dvfo_env.user_data import user_data_folder

_FOLDER = Path(__file__).parent / "profiles"

#: What the profile of this machine is called, as `dvfo profile` writes it.
HOST = "host"


def user_devices_folder() -> Path:
    """Where a user's own profiles lie: `dvfo/devices` below $XDG_DATA_HOME (default ~/.local/share)."""
    return user_data_folder() / "devices"


def list_devices() -> tuple[str, ...]:
    """Names of the shipped device profiles, sorted."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))


def list_user_devices() -> tuple[str, ...]:
    """Names of the user's own profiles, sorted; one that is called like a shipped device is not found."""
    own = {file.stem for file in user_devices_folder().glob("*.yaml")}
    return tuple(sorted(own - set(list_devices())))


def load_device(name_or_path: str | Path) -> DeviceProfile:
    """Load a shipped profile by name, one of the user's own by name (`host` is this machine), or a YAML file.

    Raises:
        ConfigError: no such device (the message lists the known ones), or the file does not fit the schema.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")):
        return load_yaml(name_or_path, DeviceProfile)
    known = list_devices()
    if text not in known:
        own = user_devices_folder() / f"{text}.yaml"
        if own.is_file():
            return load_yaml(own, DeviceProfile)
        if text == HOST:
            raise ConfigError(f"device 'host': this machine has no profile ({own}); run dvfo profile first")
        names = ", ".join((*known, *list_user_devices()))
        raise ConfigError(f"device {text!r} is not known; known devices: {names}, or a .yaml file")
    return load_yaml(_FOLDER / f"{text}.yaml", DeviceProfile)
