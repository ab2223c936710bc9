"""``python -m tests.conformance --sdk CHECKOUT``: the SDK's own tests against this engine; a table, and a verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.conformance.home import BadCheckout, Home
from tests.conformance.processes import Batch, Setting, batches, run_batch
from tests.conformance.report import terminal_table
from tests.conformance.results import Run, regressions
from tests.conformance.suite import SDK_VERSION, chosen, pass_list, read_ids, suite
from tests.fixtures.postgres import PostgresServer, temporary_server
from tests.fixtures.process import REPOSITORY

HOME = REPOSITORY / ".conformance"

console = Console(soft_wrap=True)


class Mode(StrEnum):
    """How the engine is run."""

    PLAIN = "plain"
    EVICTED = "evicted"
    TWO_PROCESSES = "two-processes"


def main(
    sdk: Annotated[Path, typer.Option(help=f"A checkout of temporalio/sdk-python that has the tag {SDK_VERSION}.")],
    pytest_arguments: Annotated[
        list[str] | None, typer.Argument(help="After --: run pytest once with these, and show what it prints.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How the engine is run.")] = Mode.PLAIN,
    temporalio: Annotated[str, typer.Option(help="A release, or 'newest'.")] = SDK_VERSION,
    only: Annotated[list[str] | None, typer.Option(help="Tests whose id has this text; several are allowed.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="core, S1 … S8, H1 … H5; default: all that count.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes beside each other.")] = 1,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one test may take.")] = 60,
    home: Annotated[Path, typer.Option(help="Where the suite and its packages are kept.")] = HOME,
    project: Annotated[Path, typer.Option(help="The checkout whose code is tested.")] = REPOSITORY,
    verbose: Annotated[bool, typer.Option(help="Print each failure.")] = False,
) -> None:
    """Run the suite's files, print the table, and fail when a test of the pass-list does not pass."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what was started is ended
    place = Home(home.resolve())
    try:
        files = place.suite_from(sdk)
    except BadCheckout as error:
        raise typer.BadParameter(str(error)) from None
    setting = Setting(
        python=place.python(temporalio),
        suite=files,
        project=project.resolve(),
        mode=mode.value,
        timeout_seconds=timeout,
        logs=place.root / "logs" / f"{mode.value}-{os.getpid()}",
    )
    with temporary_server() as embedded:
        server = PostgresServer(embedded.url)
        if pytest_arguments:
            raise typer.Exit(_once(setting, server, pytest_arguments))
        run, asked = _all(setting, server, temporalio, only or [], group or [], jobs)
    kept = place.root / "results" / f"{mode.value}-{temporalio}" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    run.save(kept)
    raise typer.Exit(_verdict(run, asked, kept, verbose))


def _once(setting: Setting, server: PostgresServer, arguments: list[str]) -> int:
    """One process of pytest, in the foreground."""
    environment = setting.environment(server.create_database())
    return subprocess.run(
        setting.command("-q", "--tb=short", *arguments), cwd=setting.suite, env=environment, check=False
    ).returncode


def _all(
    setting: Setting, server: PostgresServer, temporalio: str, only: list[str], groups: list[str], jobs: int
) -> tuple[Run, list[str]]:
    """The chosen tests, file by file; returns the run and the ids that were asked for."""
    tests = [
        test for test in chosen(suite(), files=only, groups=groups) if temporalio == SDK_VERSION or not test.drifted
    ]
    work = list(batches(tests))
    begun = time.monotonic()

    def one(batch: Batch) -> Batch:
        run_batch(batch, setting, server)
        colour = "green" if batch.passed == len(batch.tests) else "red"
        console.print(
            f"[{colour}]{batch.passed:>3}/{len(batch.tests):<3}[/] {batch.name:<50} "
            f"{batch.seconds:5.0f} s  (server {batch.server_seconds:.0f} s)",
            highlight=False,
        )
        return batch

    with ThreadPoolExecutor(jobs) as pool:
        try:
            done = list(pool.map(one, work))
        except BaseException:
            setting.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    results = {result.id: result for batch in done for result in batch.results.values()}
    failures = tuple(failure for batch in done for failure in batch.close_failures)
    run = Run(setting.mode, temporalio, results, failures, time.monotonic() - begun)
    return run, [test.id for test in tests]


def _verdict(run: Run, asked: list[str], kept: Path, verbose: bool) -> int:
    """Print it all; returns the exit status."""
    wanted = set(asked)
    console.print(terminal_table([test for test in suite() if test.id in wanted], run))
    if verbose:
        for result in run.results.values():
            if not result.passed:
                console.print(f"{result.outcome}: {result.id}\n    {result.why[-400:]}", markup=False, highlight=False)
    for failure in run.close_failures:
        console.print(f"the engine did not close: {failure}", style="red", markup=False)
    lost = regressions(run, read_ids(pass_list(run.mode)), asked)
    for result in lost:
        console.print(f"regression: {result.id} {result.outcome}\n    {result.why[-400:]}", style="red", markup=False)
    console.print(f"{run.seconds:.0f} s; results in {kept}", markup=False, highlight=False)
    return 1 if lost or run.close_failures else 0


if __name__ == "__main__":
    if sys.platform == "win32":
        sys.exit("needs process groups")
    typer.run(main)
