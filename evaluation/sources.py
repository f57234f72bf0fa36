"""Digests of the code that decides a result, so that cached results of other code are not taken for it.

Code is compared by its syntax tree without docstrings: a comment or a reworded sentence changes nothing.
"""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

import dvfo_agents
import dvfo_controller
import dvfo_env
import dvfo_evaluation

_FOLDERS = {
    package.__name__: Path(package.__path__[0])
    for package in (dvfo_agents, dvfo_controller, dvfo_env, dvfo_evaluation)
}

#: What runs for every request. The rest of `dvfo_env` shows in the numbers of the cost tables.
_STEP = ("arrivals", "dynamics", "serving", "state", "observation", "simulator", "perturbation")
#: Where decisions are made: of the controller, what policies share with their exported selves.
_DECIDING = ("dvfo_agents.", "dvfo_controller.policies.")
#: Which module a name stands for, where results lie, and configurations, digested by their values.
_INDIFFERENT = ("dvfo_agents.registry", "dvfo_agents.result_cache", "dvfo_agents.config")


def sources_digest(*modules: str) -> str:
    """SHA-256 (hex) of the step, the oracle, `modules` and what they import of `_DECIDING`."""
    wanted = [f"dvfo_env.{name}" for name in _STEP] + list(modules)
    reached: dict[Path, None] = dict.fromkeys(sorted((_FOLDERS["dvfo_env"] / "oracle").glob("*.py")))
    while wanted:
        file = _file(wanted.pop())
        if file is None or file in reached:
            continue
        reached[file] = None
        wanted += [name for name in _parsed(file)[1] if _decides(name)]
    digest = hashlib.sha256()
    for file in sorted(reached):
        digest.update(f"{file.parent.name}/{file.name}:{_parsed(file)[0]}".encode())
    return digest.hexdigest()


def _decides(module: str) -> bool:
    return module.startswith(_DECIDING) and not module.startswith(_INDIFFERENT)


def _file(module: str) -> Path | None:
    package, *rest = module.split(".")
    if package not in _FOLDERS or not rest:
        return None
    path = _FOLDERS[package].joinpath(*rest)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@lru_cache(maxsize=512)
def _parsed(file: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of a file's code, and the modules (or names in modules) it imports anywhere."""
    tree = ast.parse(file.read_bytes())
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
