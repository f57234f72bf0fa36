"""Where device profiles are found: the shipped ones by name, a user's own by path."""

from __future__ import annotations

from pathlib import Path

from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import ConfigError
from dvfo_env.schema import load_yaml

_FOLDER = Path(__file__).parent / "profiles"


def list_devices() -> tuple[str, ...]:
    """Names of the shipped device profiles, sorted."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))


def load_device(name_or_path: str | Path) -> DeviceProfile:
    """Load a shipped profile by name, or a user's profile from a YAML file.

    Raises:
        ConfigError: no such device (the message lists the known ones), or the file does not fit the schema.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")):
        return load_yaml(name_or_path, DeviceProfile)
    known = list_devices()
    if text not in known:
        raise ConfigError(f"device {text!r} is not known; known devices: {', '.join(known)}, or a .yaml file")
    return load_yaml(_FOLDER / f"{text}.yaml", DeviceProfile)
