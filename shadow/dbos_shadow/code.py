"""Code: a hash of the code that is judged, so that a session goes on only where the code is the same."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

__all__ = ["code_hash"]


def code_hash(objects: Iterable[Any]) -> str:
    """Over the source of the modules in which these are defined and of all modules beside and below them that are loaded.

    It is what "the same code" means when a session goes on. It cannot see what is imported later, or lies elsewhere:
    ``--fresh`` judges everything anew.
    """
    roots = {root for found in objects if (root := _root(found)) is not None}
    files: dict[str, Path] = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or not file.endswith(".py"):
            continue
        path = Path(file).resolve()
        for root in roots:
            if path.is_relative_to(root) and "site-packages" not in path.relative_to(root).parts:
                files[name] = path
    hashed = sha256()
    for name, path in sorted(files.items()):
        try:
            source = path.read_bytes()
        except OSError:  # loaded, and gone since: whoever starts again will not have it
            source = b""
        hashed.update(f"{name}\0".encode() + source + b"\0")
    return hashed.hexdigest()[:16]


def _root(found: Any) -> Path | None:
    """The folder of the package that something is defined in; of a module that is in none, the module's own.

    None for temporalio: its release says it all, and how much of it is loaded depends on the command.
    """
    module = inspect.getmodule(found)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return None
    name = module.__name__.partition(".")[0]
    if name == "temporalio":
        return None
    top = sys.modules.get(name)
    top_file = getattr(top, "__file__", None)
    return Path(top_file or file).resolve().parent
