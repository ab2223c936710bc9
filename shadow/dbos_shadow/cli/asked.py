"""What was asked: from the options of a command line to what work is done with."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RetryConfig
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_core.results import ReadableResults, Results
from dbos_core.store.postgres.results import PostgresResults
from dbos_shadow import checks
from dbos_shadow.allow import Allowances, AllowancesUnreadable
from dbos_shadow.campaign import RUN_DEADLINE_S, Limits
from dbos_shadow.cli import options as o
from dbos_shadow.cli.ending import Exit, Stopped, as_asked
from dbos_shadow.cli.key import read_key
from dbos_shadow.cli.live import connect
from dbos_shadow.cli.loading import load_converter, load_names, load_options, load_workflows
from dbos_shadow.judging import Baseline, How
from dbos_shadow.reading.live import Namespace
from dbos_shadow.reading.pace import ONCE, Pace
from dbos_shadow.report import Report, Rule, from_json
from dbos_shadow.results.lines import LineResults
from dbos_shadow.results.shards import Shards
from dbos_shadow.select import Selection, Window
from dbos_shadow.verdict import Way

__all__ = [
    "Code",
    "Showing",
    "client_of",
    "code_of",
    "how_of",
    "limits_of",
    "namespace_of",
    "opened",
    "read_allowances",
    "read_report",
    "rule_of",
    "selection_of",
    "shards_of",
    "showing_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What is judged with."""

    words: tuple[str, ...]
    """The options that say all this on a command line."""
    named: tuple[str | None, ...]
    """What was named as ``module:attribute``, or as a file of names."""
    workflows: tuple[type, ...]
    converter: DataConverter
    worker_options: dict[str, Any]
    namespace: str
    encoded_headers: bool
    allowances: Allowances


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What may be seen, and by which key the rest is hashed."""

    key: bytes = dataclasses.field(repr=False)
    values: tuple[str, ...] = ()
    ids: bool = True
    notes: bool = False


@as_asked()
def code_of(code: o.CodeOptions, way: o.WayOptions, namespace: str) -> Code:
    """The code that is named, imported.

    Args:
        namespace: that the runs are of.

    Raises:
        CannotLoad: a name leads nowhere, or to something else.
        Stopped: the accepted differences cannot be read.
    """
    options = load_options(code.worker_options)
    if code.no_sandbox:
        options["workflow_runner"] = UnsandboxedWorkflowRunner()
    return Code(
        words=(*_code_words(code, namespace), *_way_words(way)),
        named=(code.data_converter, code.worker_options, way.names, way.stubs, way.run_for_real),
        workflows=tuple(load_workflows(code.workflows)),
        converter=load_converter(code.data_converter),
        worker_options=options,
        namespace=namespace,
        encoded_headers=code.encoded_headers,
        allowances=read_allowances(code.allow),
    )


def _code_words(code: o.CodeOptions, namespace: str) -> list[str]:
    words = [word for name in code.workflows for word in ("-w", name)]
    for option, value in (
        ("--data-converter", code.data_converter),
        ("--worker-options", code.worker_options),
        ("--namespace", namespace if namespace != "default" else None),
        ("--allow", str(code.allow) if code.allow else None),
    ):
        words += [option, value] if value is not None else []
    for flag, is_set in (("--encoded-headers", code.encoded_headers), ("--no-sandbox", code.no_sandbox)):
        words += [flag] if is_set else []
    return words


def _way_words(way: o.WayOptions) -> list[str]:
    if way.way != "free-run":
        return []
    given = (("--names", way.names), ("--stubs", way.stubs), ("--run-for-real", way.run_for_real))
    return ["--way", way.way, *(word for option, value in given if value is not None for word in (option, value))]


def read_allowances(path: Path | None) -> Allowances:
    """The accepted differences of a file, as of today."""
    try:
        return checks.read_allowances(path)
    except OSError as error:
        raise Stopped(f"{path}: {error.strerror}.", Exit.USAGE) from error
    except AllowancesUnreadable as error:
        raise Stopped(f"{path}: {error}", Exit.USAGE) from error


@as_asked()
def how_of(way: o.WayOptions) -> How:
    """Raises CannotLoad: a name leads nowhere, or to something else."""
    return How(
        way=Way.FREE_RUN if way.way == "free-run" else Way.REPLAY,
        baseline=Baseline(way.baseline),
        names=load_names(way.names),
        stubs=load_options(way.stubs),
        run_for_real=load_options(way.run_for_real),
        store_url=way.store,
    )


@as_asked()
def selection_of(which: o.WhichOptions, sample: o.SampleOptions, query: str = "", scouts: int = 0) -> Selection:
    """Raises Stopped: no such status, or a type that is selected and excluded at once."""
    return Selection(
        query=query,
        types=tuple(which.kinds.types or ()),
        excluded_types=tuple(which.kinds.exclude_types or ()),
        statuses=tuple(which.kinds.statuses or ()),
        started=Window(after=which.started_after, before=which.started_before),
        closed=Window(after=which.closed_after, before=which.closed_before),
        ids=tuple(which.ids or ()),
        run_ids=tuple(which.run_ids or ()),
        rate=sample.rate,
        maximum=sample.maximum,
        floor=sample.floor,
        scouts=scouts,
        seed=sample.seed,
    )


async def client_of(where: o.ConnectOptions, name: str | None, retries: RetryConfig | None = None) -> Client:
    """A client of the live namespace.

    Args:
        name: of the namespace; None: as the profile or the environment says.
        retries: which requests it tries again by itself; None: as temporalio does.

    Raises:
        CannotConnect: nobody answers there.
        CannotLoad: the factory of the client is none.
        Stopped: an address or a key is none.
    """
    with as_asked():
        return await connect(
            address=where.address, namespace=name, profile=where.profile, factory=where.client, retries=retries
        )


async def namespace_of(server: o.ServerOptions, name: str | None) -> Namespace:
    """The live namespace, at the pace that was asked for.

    Args:
        name: of the namespace; None: as the profile or the environment says.

    Raises:
        CannotConnect: nobody answers there.
        CannotLoad: the factory of the client is none.
    """
    client = await client_of(server.connect, name, ONCE)
    with as_asked():
        return Namespace(client, Pace(per_second=server.per_second, concurrency=server.concurrency))


@as_asked()
def limits_of(limits: o.LimitOptions) -> Limits:
    """When to stop; durations in seconds."""
    run_deadline = limits.run_deadline
    return Limits(
        run_deadline_s=run_deadline.total_seconds() if run_deadline is not None else RUN_DEADLINE_S,
        deadline_s=limits.deadline.total_seconds() if limits.deadline is not None else None,
        mismatches=limits.stop_at,
        compared_per_type=limits.enough,
    )


@as_asked()
def rule_of(verdict: o.VerdictOptions) -> Rule:
    """When a workflow type is a go."""
    return Rule(
        sample_floor=verdict.sample_floor,
        mismatches_max=verdict.max_mismatches,
        undecided_share_max=verdict.max_undecided,
    )


@as_asked()
def showing_of(shown: o.ShownOptions) -> Showing:
    """Raises BadKey: the file of the key is missing or no key."""
    return Showing(
        key=read_key(shown.hashes.key_file),
        values=tuple(shown.show_values or ()),
        ids=not shown.hashes.hash_ids,
        notes=shown.show_notes,
    )


@contextlib.asynccontextmanager
async def opened(place: o.PlaceOptions, *, create: bool = True) -> AsyncIterator[Results]:
    """The results that are kept there, closed again afterwards.

    Args:
        create: the file or the schema, if it is not there.

    Raises what ``Results.open`` raises.
    """
    results: Results
    if place.database is not None:
        results = PostgresResults(place.database, schema=place.schema, create=create)
    else:
        results = LineResults(place.results_file, create=create)
    await results.open()
    try:
        yield results
    finally:
        await results.close()


@contextlib.asynccontextmanager
async def shards_of(files: Sequence[Path]) -> AsyncIterator[ReadableResults]:
    """The results in several files, as one. Raises what ``Shards.open`` raises."""
    shards = Shards(files)
    await shards.open()
    try:
        yield shards
    finally:
        await shards.close()


def read_report(path: Path | None) -> Report | None:
    """An earlier report.

    Raises:
        Stopped: there is none in this file.
    """
    if path is None:
        return None
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise Stopped(f"{path}: {error.strerror}.", Exit.USAGE) from error
    except ValueError as error:
        raise Stopped(f"{path} is not a report of `dbos-compat shadow` (-o report.json).", Exit.USAGE) from error
