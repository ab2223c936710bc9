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

from tests.conformance import document, processes
from tests.conformance.expected import excuses, stale
from tests.conformance.home import BadCheckout, Home, installed_temporalio
from tests.conformance.ledger import unexplained
from tests.conformance.processes import Batch, Setting, batches, run_batch
from tests.conformance.report import terminal_table
from tests.conformance.results import Run, kept_runs, newest, regressions, steady
from tests.conformance.suite import SDK_VERSION, SuiteTest, chosen, pass_list, read_ids, suite
from tests.fixtures.postgres import PostgresServer, temporary_server
from tests.fixtures.process import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "conformance.md"
HOME = REPOSITORY / ".conformance"

console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 150)


class Mode(StrEnum):
    """How the engine is run."""

    PLAIN = "plain"
    EVICTED = "evicted"
    TWO_PROCESSES = "two-processes"
    SERVER = processes.SERVER


def main(
    pytest_arguments: Annotated[
        list[str] | None, typer.Argument(help="After --: run pytest once with these, and show what it prints.")
    ] = None,
    sdk: Annotated[
        Path | None, typer.Option(help=f"A checkout of temporalio/sdk-python that has the tag {SDK_VERSION}.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How the engine is run.")] = Mode.PLAIN,
    temporalio: Annotated[str, typer.Option(help="A release, or 'newest'.")] = SDK_VERSION,
    only: Annotated[list[str] | None, typer.Option(help="Tests whose id has this text; several are allowed.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="core, S1 … S8, H1 … H5; default: all that count.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes beside each other.")] = max(1, (os.cpu_count() or 1) // 2),
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one test may take.")] = 60,
    home: Annotated[Path, typer.Option(help="Where the suite and its packages are kept.")] = HOME,
    project: Annotated[Path, typer.Option(help="The checkout whose code is tested.")] = REPOSITORY,
    verbose: Annotated[bool, typer.Option(help="Print each failure.")] = False,
    accept: Annotated[bool, typer.Option(help="Put what passed three times in a row on the pass-list.")] = False,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Put the mode's tables into docs/conformance.md.")
    ] = False,
    render: Annotated[bool, typer.Option(help="Run nothing; take each test's newest outcome.")] = False,
) -> None:
    """Run the suite's files, print the table, and fail when a test does not pass and nothing says why."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what was started is ended
    place = Home(home.resolve())
    results = place.root / "results" / f"{mode.value}-{temporalio}"
    tests = [
        test
        for test in chosen(suite(), texts=only or (), groups=group or ())
        if temporalio == SDK_VERSION or not test.drifted
    ]
    if render:
        run = _last(results)
    else:
        setting = _setting(place, sdk, mode, temporalio, timeout, project)
        with temporary_server() as embedded:
            server = PostgresServer(embedded.url)
            if pytest_arguments:
                raise typer.Exit(_once(setting, server, pytest_arguments))
            run = _all(setting, server, tests, jobs)
        run.save(results / f"{time.strftime('%Y%m%d-%H%M%S')}.json")
    status = _verdict(run, tests, verbose)
    if accept:
        _accept(results, run, tests)
    if write_docs:
        document.write(DOCUMENT, tests, run)
    raise typer.Exit(status)


def _setting(place: Home, sdk: Path | None, mode: Mode, temporalio: str, timeout: float, project: Path) -> Setting:
    """Everything installed and unpacked."""
    if sdk is None:
        raise typer.BadParameter(f"--sdk is needed: a checkout of temporalio/sdk-python with the tag {SDK_VERSION}")
    try:
        files = place.suite_from(sdk)
    except BadCheckout as error:
        raise typer.BadParameter(str(error)) from None
    return Setting(
        python=place.python(temporalio),
        suite=files,
        project=project.resolve(),
        mode=mode.value,
        timeout_seconds=timeout,
        logs=place.root / "logs" / f"{mode.value}-{os.getpid()}",
    )


def _last(results: Path) -> Run:
    """The newest outcome of each test."""
    runs = kept_runs(results)
    if not runs:
        raise typer.BadParameter(f"no run is kept in {results}")
    return newest(runs)


def _once(setting: Setting, server: PostgresServer, arguments: list[str]) -> int:
    """One process of pytest, in the foreground."""
    with setting.engine(server) as url:
        return subprocess.run(
            setting.command("-q", "--tb=short", *arguments),
            cwd=setting.suite,
            env=setting.environment(url),
            check=False,
        ).returncode


def _all(setting: Setting, server: PostgresServer, tests: list[SuiteTest], jobs: int) -> Run:
    """The chosen tests, file by file."""
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
    return Run(setting.mode, installed_temporalio(setting.python), results, failures, time.monotonic() - begun)


def _verdict(run: Run, tests: list[SuiteTest], verbose: bool) -> int:
    """Print it all; returns the exit status."""
    console.print(terminal_table(tests, run))
    nobody = unexplained(tests, run)
    if verbose:
        for result in nobody:
            console.print(f"{result.outcome}: {result.id}\n    {result.reason}", markup=False, highlight=False)
    for failure in run.close_failures:
        console.print(f"the engine did not close: {failure}", style="red", markup=False)
    lost = regressions(run, read_ids(pass_list(run.mode)), [test.id for test in tests])
    for result in lost:
        console.print(f"regression: {result.id} {result.outcome}\n    {result.reason}", style="red", markup=False)
    outdated = stale(tests, run)
    for result in outdated:
        console.print(f"passes, though expected.toml says that it cannot: {result.id}", style="red", markup=False)
    console.print(
        f"{run.seconds:.0f} s; {len(nobody)} failures that nothing accounts for, {len(lost)} regressions",
        highlight=False,
    )
    return 1 if nobody or lost or outdated or run.close_failures else 0


def _accept(results: Path, run: Run, tests: list[SuiteTest]) -> None:
    """Write the pass-list anew: what passed the last three times, in the suite's order."""
    steadily = steady(kept_runs(results))
    path = pass_list(run.mode)
    asked = {test.id for test in tests}
    excused = excuses(run.mode)
    kept = [
        test.id
        for test in suite()
        if test.id not in excused and (test.id in steadily or (test.id not in asked and test.id in read_ids(path)))
    ]
    path.write_text("\n".join([f"# Passed three times in a row, {run.mode}, temporalio {SDK_VERSION}.", *kept]) + "\n")
    console.print(f"{len(kept)} tests on {path.name}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
