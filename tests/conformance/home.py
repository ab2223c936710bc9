"""What the suite runs in: a folder with its files, and a virtual environment with the SDK's release and test packages.

Both are made on demand below ``.conformance`` (ignored by git), from a checkout of temporalio/sdk-python that the
caller names. Only ``tests``, ``scripts`` and ``pyproject.toml`` are taken: with the ``temporalio`` folder beside them
the suite would import the sources instead of the installed release.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from tests.conformance.suite import DATA, SDK_VERSION

PARTS = ("tests", "scripts", "pyproject.toml")


class BadCheckout(Exception):
    """The folder is no checkout of the SDK, or not of the right version."""


class Home:
    """The folder below which everything is kept."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def suite_from(self, checkout: Path) -> Path:
        """The suite's files, taken from the checkout once.

        Raises:
            BadCheckout: the checkout has no such version.
        """
        target = self.root / f"suite-{SDK_VERSION}"
        if target.exists():
            return target
        being_made = self.root / f"suite-{SDK_VERSION}.new"
        shutil.rmtree(being_made, ignore_errors=True)
        being_made.mkdir(parents=True)
        archive = _git(checkout, "archive", SDK_VERSION, *PARTS)
        if archive is not None:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(being_made, filter="data")
        else:
            _copy(checkout, being_made)
        being_made.rename(target)
        return target

    def python(self, temporalio: str) -> Path:
        """The interpreter with that release of temporalio ("newest" for the latest) and the suite's packages."""
        wanted = (DATA / "requirements.txt").read_text()
        if temporalio != SDK_VERSION:
            pinned = "temporalio" if temporalio == "newest" else f"temporalio=={temporalio}"
            wanted = wanted.replace(f"temporalio=={SDK_VERSION}", pinned)
        folder = self.root / f"venv-{temporalio}"
        python, stamp = folder / "bin" / "python", folder / "requirements.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            return python
        print(f"conformance: installing temporalio {temporalio} and the suite's packages", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        unfinished = folder / "requirements.new"
        unfinished.write_text(wanted)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(unfinished)],
            check=True,
        )
        unfinished.rename(stamp)
        return python


def installed_temporalio(python: Path) -> str:
    """The release of temporalio that an interpreter has."""
    ask = "from importlib.metadata import version; print(version('temporalio'))"
    return subprocess.run([str(python), "-c", ask], check=True, capture_output=True, text=True).stdout.strip()


def _git(checkout: Path, *arguments: str) -> bytes | None:
    """What git prints there; nothing when it cannot."""
    answer = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, check=False)
    return answer.stdout if answer.returncode == 0 else None


def _copy(checkout: Path, target: Path) -> None:
    """Take the files of a folder that knows no tags: it must be of the right version."""
    project = checkout / "pyproject.toml"
    if not project.exists() or not (checkout / "tests").is_dir():
        raise BadCheckout(
            f"{checkout} is no checkout of the SDK: git clone --branch {SDK_VERSION} "
            "https://github.com/temporalio/sdk-python"
        )
    version = tomllib.loads(project.read_text())["project"]["version"]
    if version != SDK_VERSION:
        raise BadCheckout(f"{checkout} is version {version} and has no tag {SDK_VERSION}, which the lists are of")
    for part in PARTS:
        source = checkout / part
        if source.is_dir():
            shutil.copytree(source, target / part)
        elif source.exists():
            shutil.copy(source, target / part)
