"""The files of the repository, as the tests of this folder see them."""

from __future__ import annotations

import pkgutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.fixtures.process import REPOSITORY

PACKAGES = {
    "dbos_core": REPOSITORY / "core" / "dbos_core",
    "dbos_compat": REPOSITORY / "dbos_compat" / "dbos_compat",
    "dbos_shadow": REPOSITORY / "shadow" / "dbos_shadow",
}
NOT_OURS = {".git", ".venv", ".bench", "__pycache__", "dist", "build"}


def committed_files(*suffixes: str) -> list[Path]:
    """Every file under version control (in an unpacked archive: every file), with one of the suffixes if any given."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        files = [REPOSITORY / name for name in listing.stdout.split("\0") if name]
    else:
        files = [path for path in REPOSITORY.rglob("*") if not NOT_OURS & set(path.relative_to(REPOSITORY).parts)]
    return sorted(path for path in files if path.is_file() and (not suffixes or path.suffix in suffixes))


def module_names() -> Iterator[str]:
    """Every module of the three packages."""
    for package, folder in PACKAGES.items():
        yield package
        for module in pkgutil.walk_packages([str(folder)], prefix=f"{package}."):
            if not module.name.endswith("__main__"):
                yield module.name


def relative(path: Path) -> str:
    """How a file is called in a message."""
    return path.relative_to(REPOSITORY).as_posix()
