"""Build hook: the one table that says which folder ships under which import name.

The repository keeps short folder names (`agents/`, `cli/`, `train.py`); site-packages must not, because
`agents` or `train` would collide with other projects. A wheel renames them; an editable install gets a folder
`.links/` of symbolic links with the same names, so that Python, editors and type checkers all resolve the
imports from plain files, without import hooks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED_AS = {
    "dvfo_env": "dvfo_env",
    "controller": "dvfo_controller",
    "agents": "dvfo_agents",
    "evaluation": "dvfo_evaluation",
    "export": "dvfo_export",
    "verification": "dvfo_verification",
    "benchmarks": "dvfo_benchmarks",
    "cli": "dvfo_cli",
    "configs": "dvfo_configs",
    "train.py": "dvfo_train.py",
    "evaluate.py": "dvfo_evaluate.py",
}


class ShortNamesHook(BuildHookInterface):  # type: ignore[type-arg]
    """Maps repository folders to import names, for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill `.links/` (editable) or the wheel's file map (standard)."""
        root = Path(self.root)
        if version == "editable":
            _link(root / ".links")
            return
        for folder, name in SHIPPED_AS.items():
            source = root / folder
            if not source.exists():
                raise FileNotFoundError(f"{source} is missing: the wheel would lack {name}")
            files = [source] if source.is_file() else sorted(source.rglob("*"))
            for file in files:
                if file.is_file() and "__pycache__" not in file.parts:
                    target = name if source.is_file() else f"{name}/{file.relative_to(source).as_posix()}"
                    build_data["force_include"][str(file)] = target


def _link(links: Path) -> None:
    """Make `links` hold one relative link per import name; what is right already stays untouched."""
    links.mkdir(exist_ok=True)
    wanted = {name: Path("..") / folder for folder, name in SHIPPED_AS.items()}
    for old in links.iterdir():
        if not old.is_symlink() or wanted.get(old.name) != old.readlink():
            old.unlink()
    for name, target in wanted.items():
        if not (links / name).is_symlink():
            (links / name).symlink_to(target)
