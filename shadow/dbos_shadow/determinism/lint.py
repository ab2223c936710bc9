"""The static part: a Ruff configuration for files with workflows in them, and what no linter sees.

Ruff does the work: it is what most teams run anyway, and it resolves names through imports. What is ours is the table of
names that workflow code must not use, each with what to use instead, and finding the files that it applies to.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dbos_core.errors import DBOSCompatError

_TIME = "the time differs in a replay: use workflow.now() or workflow.time()"
_CHANCE = "chance differs in a replay: use workflow.random()"
_ID = "the id differs in a replay: use workflow.uuid4()"
_WORLD = "the world outside differs in a replay: do this in an activity"
_THREADS = "threads and processes run outside the workflow's event loop: use an activity, or asyncio's tasks"
_ORDER = "gives a set, whose order differs in a replay"

BANNED: Mapping[str, str] = {
    **dict.fromkeys(("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"), _TIME),
    **dict.fromkeys(("datetime.date.today", "time.time", "time.time_ns", "time.localtime", "time.gmtime"), _TIME),
    **dict.fromkeys(("time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"), _TIME),
    **dict.fromkeys(("time.process_time", "time.ctime", "time.strftime"), _TIME),
    "time.sleep": "stops the worker: use await asyncio.sleep(), which is a durable timer here",
    **dict.fromkeys(("random", "secrets", "numpy.random"), _CHANCE),
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"), _ID),
    **dict.fromkeys(("os.environ", "os.getenv", "os.urandom", "os.getpid", "os.listdir", "os.scandir"), _WORLD),
    **dict.fromkeys(
        ("os.cpu_count", "os.system", "os.walk", "glob.glob", "glob.iglob", "platform", "tempfile"), _WORLD
    ),
    **dict.fromkeys(
        ("socket", "ssl", "requests", "httpx", "aiohttp", "urllib.request", "urllib3", "http.client"), _WORLD
    ),
    **dict.fromkeys(("sqlite3", "psycopg", "asyncpg", "sqlalchemy", "redis", "boto3", "subprocess"), _WORLD),
    **dict.fromkeys(("temporalio.client.Client",), _WORLD),
    **dict.fromkeys(("threading", "multiprocessing", "concurrent.futures", "asyncio.to_thread"), _THREADS),
    **dict.fromkeys(("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"), _WORLD),
    **dict.fromkeys(("asyncio.run", "asyncio.new_event_loop"), _THREADS),
    "asyncio.wait": f"{_ORDER}: use workflow.wait()",
    "asyncio.as_completed": f"{_ORDER}: use workflow.as_completed()",
}
"""Name → what to do instead. Ruff's rule TID251."""

RULES: Mapping[str, str] = {
    "TID251": "names that workflow code must not use (the table above)",
    "ASYNC2": "blocking calls: files, input(), subprocesses, HTTP",
    "PLC0208": "iterating over a set that is written out",
    "PLW0603": "`global` assignments: state that outlives a run",
    "RUF012": "mutable class attributes: state that runs share",
    "RUF006": "tasks nobody keeps, which may vanish",
    "BLE001": "catching everything, cancellation included",
    "E722": "the same, without a name",
    "S110": "an error that is swallowed without a word",
}
"""Ruff's rules that are asked for, and why."""

UNSEEN: Sequence[tuple[str, str]] = (
    (
        "Iterating over a set that is not written out",
        "the type of what is iterated over is known to nobody before it runs",
    ),
    ("What a helper in another file does", "each file is read alone"),
    ("A handler that races the end of its workflow", "needs the order in which things happen"),
    ("A patch that is missing, or was removed too early", "needs the code that was deployed before"),
    ("An update lost in continue-as-new", "needs the order in which things happen"),
    ("A saga that forgets to compensate", "needs a cancellation at the right moment"),
    ("A `finally` that starts an activity on eviction", "the same line is right in every other case"),
    ("State in an object that a module imports", "assignments to attributes of other modules look like any other"),
)
"""What it cannot see, and why. The determinism test finds these."""


class RuffMissing(DBOSCompatError):
    """Ruff is not installed."""

    code = "DC701"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One line of workflow code that a rule objects to."""

    file: str
    line: int
    column: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.rule} {self.message}"


def configuration() -> str:
    """The Ruff configuration, as TOML: to be saved beside workflow code, or extended."""
    lines = ["# Rules for files with Temporal workflows in them.", "[lint]", "select = ["]
    lines += [f'    "{rule}",  # {why}' for rule, why in RULES.items()]
    lines += ["]", "", "[lint.flake8-tidy-imports.banned-api]"]
    lines += [f"{json.dumps(name)}.msg = {json.dumps(why)}" for name, why in BANNED.items()]
    return "\n".join(lines) + "\n"


def workflow_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The Python files among these, or below these folders, in which a workflow is defined."""
    for path in paths:
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            hidden = any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(path).parts[:-1])
            if not hidden and defines_workflow(file.read_text(encoding="utf-8", errors="replace")):
                yield file


def defines_workflow(source: str) -> bool:
    """Is there a class with ``@workflow.defn`` in it?"""
    if "defn" not in source:
        return False
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return False
    return any(
        ast.unparse(decorator).partition("(")[0] in ("workflow.defn", "temporalio.workflow.defn")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
    )


def lint(paths: Sequence[Path]) -> list[Finding]:
    """What Ruff finds in the files with workflows.

    Args:
        paths: files and folders. In a folder only files that define a workflow are looked at.

    Raises:
        RuffMissing: it is not installed.
        FileNotFoundError: there is no such path.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
    files = [str(file) for file in workflow_files(paths)]
    if not files:
        return []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "ruff.toml"
        config.write_text(configuration(), encoding="utf-8")
        command = [*_ruff(), "check", "--config", str(config), "--no-cache", "--exit-zero", "--output-format", "json"]
        done = subprocess.run([*command, "--", *files], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuffMissing(f"Ruff could not read the files: {done.stderr.strip()}")
    return sorted(
        Finding(
            _shown(found["filename"]),
            found["location"]["row"],
            found["location"]["column"],
            found["code"] or "syntax",
            found["message"],
        )
        for found in json.loads(done.stdout)
    )


def _ruff() -> list[str]:
    if importlib.util.find_spec("ruff") is not None:
        return [sys.executable, "-m", "ruff"]
    if (found := shutil.which("ruff")) is not None:
        return [found]
    raise RuffMissing("linting needs Ruff, which is not installed here: pip install ruff")


def _shown(file: str) -> str:
    path = Path(file)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
