"""Code: a hash of the code that judges and is judged, so that a session goes on only where all of it is the same."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["code_hash", "name_of", "versions"]

_OURS = ("dbos_core", "dbos_compat", "dbos_shadow")
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def code_hash() -> str:
    """Over the source of every module that is loaded and neither installed nor Python's own: a workflow may use any of them.

    Of our own packages, where they are not installed either, all modules count: how many are loaded depends on the command.
    What is imported later it cannot see: ``--fresh`` judges everything anew.
    """
    hashed = sha256()
    for name, path in sorted({**_loaded(), **_ours()}.items()):
        try:
            source = path.read_bytes()
        except OSError:  # loaded, and gone since: whoever starts again will not have it
            source = b""
        hashed.update(f"{name}\0".encode() + source + b"\0")
    return hashed.hexdigest()[:16]


def versions() -> dict[str, str]:
    """The versions of the installed distributions that the code of ``code_hash`` has names of."""
    tops = {
        top
        for name in _loaded()
        for value in list(vars(sys.modules[name]).values())
        if (top := _top(value)) is not None and _is_installed_package(top)
    }
    names = {name for top, names in _distributions().items() if top in tops for name in names}
    return {name: metadata.version(name) for name in sorted(names)}


def name_of(value: Any) -> Any:
    """An option's value as far as it has a name or is plain, for a hash; of any other object only its type."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, timedelta, Enum)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return [name_of(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(name_of(one)) for one in value)
    if isinstance(value, dict):
        return sorted([str(name_of(key)), name_of(one)] for key, one in value.items())
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"


def _loaded() -> dict[str, Path]:
    found = {}
    for name, module in list(sys.modules.items()):
        path = _source(module)
        # A program of ours that was started (``python -m``) is among our own.
        if path is not None and not _is_ours(path) and not _is_installed(path):
            found[name] = path
    return found


def _ours() -> dict[str, Path]:
    return {
        f"{folder.name}/{file.relative_to(folder).as_posix()}": file
        for folder in _our_folders()
        if not _is_installed(folder)
        for file in folder.rglob("*.py")
    }


def _top(value: object) -> str | None:
    """The package that something in a module comes from."""
    if isinstance(value, ModuleType):
        return value.__name__.partition(".")[0]
    if isinstance(value, (type, FunctionType)) and isinstance(value.__module__, str):
        return value.__module__.partition(".")[0]
    return None  # of other objects nobody knows what asking them does


def _is_installed_package(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and not _INSTALLED.isdisjoint(Path(file).parts)


def _source(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) and file.endswith(".py") else None


def _is_ours(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _our_folders())


def _is_installed(path: Path) -> bool:
    """Is it of a package that was installed, or Python's own?"""
    return not _INSTALLED.isdisjoint(path.parts) or any(path.is_relative_to(folder) for folder in _of_python())


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@cache
def _our_folders() -> list[Path]:
    return [file.parent for name in _OURS if (file := _source(sys.modules.get(name))) is not None]


@cache
def _of_python() -> list[Path]:
    return [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
