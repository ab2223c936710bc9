"""Run tests of the suite in processes of their own, each on a fresh database; a hang costs one test.

A process gets some tests of one file. When it makes no progress for longer than a test may take, it is told to say where
it hangs (into its log) and killed; the test that hung is marked, and the rest goes on in another process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.results import HUNG, Result, Rows, read_rows
from tests.conformance.suite import ALONE, SuiteTest
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.temporal import DYNAMIC_CONFIG, development_server

INSIDE = Path(__file__).parent / "inside"
STALL_MARGIN_SECONDS = 60
"""For collecting, for closing the engine, and for a busy machine."""
LAST_RESORT_SECONDS = 20
"""An async test is cancelled when its time is up; so much later pytest-timeout strikes."""
SERVER = "server"
"""The mode that asks Temporal's own development server, for comparison."""
SERVER_CONFIG = {
    **DYNAMIC_CONFIG,
    # As the suite starts it.
    "system.enableEagerWorkflowStart": "true",
    "frontend.enableExecuteMultiOperation": "true",
    "frontend.workerVersioningWorkflowAPIs": "true",
    "frontend.workerVersioningDataAPIs": "true",
    "system.enableDeploymentVersions": "true",
    "frontend.activityAPIsEnabled": "true",
    "frontend.enableCancelWorkerPollsOnShutdown": "true",
    "history.enableChasm": "true",
    "history.enableTransitionHistory": "true",
}
PER_PROCESS = 40
"""Tests that one process gets at most."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all processes of a run have in common."""

    python: Path
    suite: Path
    project: Path
    """The checkout whose code is tested."""
    mode: str
    timeout_seconds: float
    logs: Path
    stop: threading.Event = field(default_factory=threading.Event)
    """Set by who wants the run to end early."""

    @contextlib.contextmanager
    def engine(self, server: PostgresServer) -> Iterator[str]:
        """Something fresh to connect to: the URL of an empty database, or the address of a server."""
        if self.mode == SERVER:
            with development_server(SERVER_CONFIG) as address:
                yield address
            return
        url = server.create_database()
        try:
            yield url
        finally:
            server.drop_database(url)

    def environment(self, url: str) -> dict[str, str]:
        paths = [INSIDE, *(self.project / part for part in ("core", "dbos_compat", "shadow"))]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "CONFORMANCE_ENGINE": "dbos_conformance.engine:connect",
            "CONFORMANCE_URL": url,
            "CONFORMANCE_MODE": self.mode,
            "CONFORMANCE_TEST_SECONDS": f"{self.timeout_seconds:g}",
        }
        environment.pop("TEMPORAL_DEBUG", None)
        # The sandbox imports a test file of 10,000 lines anew for every worker: let it keep what it has compiled.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment

    def command(self, *arguments: str) -> list[str]:
        fixed = ["-m", "pytest", "-p", "dbos_conformance.plugin", "-p", "no:cacheprovider"]
        return [str(self.python), *fixed, "--timeout", f"{self.timeout_seconds + LAST_RESORT_SECONDS:g}", *arguments]


@dataclass(slots=True)
class Batch:
    """Tests of one file that share a process."""

    file: str
    tests: Sequence[SuiteTest]
    number: int
    results: dict[str, Result] = field(default_factory=dict)
    close_failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.file.removeprefix('tests/').removesuffix('.py').replace('/', '.')}-{self.number}"

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results.values())

    @property
    def server_seconds(self) -> float:
        return sum(test.server_seconds for test in self.tests)


def batches(tests: Iterable[SuiteTest], size: int = PER_PROCESS) -> Iterator[Batch]:
    """Cut the tests into batches: one file each, and not too many; what needs a process of its own gets it."""
    by_file: dict[str, list[SuiteTest]] = {}
    for test in tests:
        by_file.setdefault(test.file, []).append(test)
    for file, members in by_file.items():
        together = [test for test in members if test.id not in ALONE]
        cuts = [together[start : start + size] for start in range(0, len(together), size)]
        cuts += [[test] for test in members if test.id in ALONE]
        for number, cut in enumerate(cuts, start=1):
            yield Batch(file, cut, number)


def run_batch(batch: Batch, setting: Setting, server: PostgresServer) -> None:
    """Run it to its end, in as many processes as hangs make necessary."""
    begun = time.monotonic()
    attempt = 0
    while not setting.stop.is_set() and (left := [test.id for test in batch.tests if test.id not in batch.results]):
        attempt += 1
        rows, died = _run_process(f"{batch.name}.{attempt}", batch.file, left, setting, server)
        batch.results.update(rows.results)
        if rows.close:
            batch.close_failures.append(f"{batch.name}: {rows.close}")
        still_left = [test for test in left if test not in batch.results]
        if still_left:
            # What it was at when it ended; if it never got to a test, the first one takes the blame.
            culprit = rows.unfinished if rows.unfinished in still_left else still_left[0]
            batch.results[culprit] = Result(culprit, HUNG, 0.0, died)
    batch.seconds = time.monotonic() - begun


def _run_process(
    name: str, file: str, ids: Sequence[str], setting: Setting, server: PostgresServer
) -> tuple[Rows, str]:
    """One process; returns what it wrote, and how it ended."""
    setting.logs.mkdir(parents=True, exist_ok=True)
    listed, rows, log = (setting.logs / f"{name}{suffix}" for suffix in (".list", ".rows", ".log"))
    listed.write_text("\n".join(ids) + "\n")
    rows.unlink(missing_ok=True)
    with setting.engine(server) as url, log.open("w") as output:
        environment = setting.environment(url)
        environment |= {"CONFORMANCE_LIST": str(listed), "CONFORMANCE_RESULTS": str(rows)}
        process = subprocess.Popen(
            setting.command("-q", "--tb=short", file),
            cwd=setting.suite,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            died = _watch(process, rows, setting)
        finally:
            _kill_group(process)
    return read_rows(rows), f"{died}; see {log.name}"


def _watch(process: subprocess.Popen[bytes], rows: Path, setting: Setting) -> str:
    """Wait for its end, as long as rows appear; returns how it ended."""
    stall_seconds = setting.timeout_seconds + STALL_MARGIN_SECONDS
    size, since = -1, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"the process ended with status {process.wait(0.5)}"
        if setting.stop.is_set():
            return "the run was stopped"
        now = rows.stat().st_size if rows.exists() else 0
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > stall_seconds:
            process.send_signal(signal.SIGUSR1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            return f"no progress for {stall_seconds:g} s"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End it and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
