"""How a command runs: options that all share, output in two forms, and errors as exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import json
import re
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

import dbos_compat
from dbos_compat.embedded import default_data_dir
from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient
from dbos_core.errors import (
    ApplicationMismatch,
    BadDatabaseURL,
    DBOSCompatError,
    SchemaMissing,
    SchemaTooNew,
    StoreUnavailable,
)
from dbos_core.kernel import Kernel


class Exit(enum.IntEnum):
    """What the exit status says."""

    FINE = 0
    NOT_COMPLETED = 1
    """The workflow failed, was cancelled or terminated, or timed out."""
    USAGE = 2
    """Unknown option or unreadable value."""
    NOT_FOUND = 3
    """No such workflow, or it is closed already."""
    DATABASE = 4
    """The database cannot be reached, or its schema is not one that we may use."""
    REFUSED = 5
    """The engine refused; the message says why."""


EXIT_CODES = (
    "Exit codes: 0 fine · 1 the workflow did not complete · 2 wrong usage · 3 no such open workflow · "
    "4 database unreachable or schema unusable · 5 refused by the engine"
)

PIPE_WIDTH = 160


@dataclass(frozen=True)
class Output:
    """Where a command speaks: a table or a sentence for people, one JSON document for programs. A group of options."""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False

    @functools.cached_property
    def console(self) -> Console:
        console = Console(highlight=False)
        # In a file or a pipe nothing is gained by squeezing.
        return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)

    def say(self, sentence: str) -> None:
        """A sentence for people."""
        if not self.as_json:
            self.console.print(sentence)

    def table(self, table: Table) -> None:
        if not self.as_json:
            self.console.print(table)

    def document(self, value: object) -> None:
        """The JSON document of this command."""
        if self.as_json:
            typer.echo(json.dumps(value, indent=None, ensure_ascii=False, default=str))


class CommandFailed(Exception):
    """Ends a command with a message and an exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


def run(output: Output, work: Coroutine[Any, Any, None]) -> None:
    """Run a command's work; every expected error becomes one message and an exit code."""
    try:
        asyncio.run(work)
    except CommandFailed as failed:
        fail(output, str(failed), failed.code)
    except (BadDatabaseURL, StoreUnavailable, SchemaMissing, SchemaTooNew, ApplicationMismatch) as error:
        fail(output, str(error), Exit.DATABASE)
    except RPCError as error:
        fail(output, str(error), _exit_of(error))
    except DBOSCompatError as error:
        fail(output, str(error), Exit.REFUSED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def fail(output: Output, message: str, code: Exit) -> NoReturn:
    """Say what went wrong on standard error, and end with the code."""
    if output.as_json:
        sys.stderr.write(json.dumps({"error": message, "exit_code": int(code)}, ensure_ascii=False) + "\n")
    else:
        Console(stderr=True, highlight=False).print("[red]error:[/]", escape(message), soft_wrap=True)
    raise typer.Exit(int(code))


def _exit_of(error: RPCError) -> Exit:
    if error.status is RPCStatusCode.NOT_FOUND:
        return Exit.NOT_FOUND
    if error.status is RPCStatusCode.UNAVAILABLE:
        return Exit.DATABASE
    return Exit.REFUSED


@dataclass(frozen=True, slots=True)
class Target:
    """Which database, which namespace in it, and whose it is: a group of options of every command that connects."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="DBOS_SYSTEM_DATABASE_URL",
            help="Database, as postgresql://user:password@host:5432/name. Without one: your embedded Postgres.",
        ),
    ] = None
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Temporal namespace; each has a schema of its own.")
    ] = "default"
    application: Annotated[
        str,
        typer.Option("--application", help="Name of the application that owns the schema, as connect() was told it."),
    ] = "dbos-compat"

    @contextlib.asynccontextmanager
    async def connected(self, *, create_schema: bool = True) -> AsyncIterator[Client]:
        """A client of the namespace, closed again afterwards."""
        if self.url is None:
            note = f"no --url and no DBOS_SYSTEM_DATABASE_URL: using the embedded Postgres in {default_data_dir()}"
            Console(stderr=True, highlight=False).print(note, style="dim", soft_wrap=True, markup=False)
        client = await dbos_compat.connect(
            self.url, namespace=self.namespace, application_name=self.application, create_schema=create_schema
        )
        try:
            yield client
        finally:
            await dbos_compat.disconnect(client)


def kernel_of(client: Client) -> Kernel:
    """The kernel behind a client that ``connect`` made."""
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    assert isinstance(service.engine, Engine)
    return service.engine.kernel


_UNITS: Mapping[str, timedelta] = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def duration(text: str) -> timedelta:
    """Read ``30d``, ``12h``, ``90m``, ``45s``, ``2w``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration: write a number and one of s, m, h, d, w, such as 30d")
    try:
        return float(match[1]) * _UNITS[match[2]]
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is longer than time itself") from None
