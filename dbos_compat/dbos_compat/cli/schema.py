"""``dbos-compat migrate`` and ``dbos-compat versions``: the schema and the releases that fit together."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer
from rich.table import Table

from dbos_compat.cli.grouped import grouped
from dbos_compat.cli.run import Output, Target, run
from dbos_compat.private import SDK_VERSION, SUPPORTED, TESTED
from dbos_core.store.postgres.schema.migrate import DBOS_VERSION, own_version
from dbos_core.store.postgres.schema.names import schema_names


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: dbos-compat migrate --url postgresql://localhost/app --namespace orders")(migrate)
    app.command(epilog="Example: dbos-compat versions --json")(versions)


@grouped
def migrate(
    *,
    target: Target,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 4 if something is missing.")] = False,
    output: Output,
) -> None:
    """Create or check the schema of a namespace. Safe to repeat, and when ten processes do it at once."""

    async def work() -> None:
        async with target.connected(create_schema=not check):
            pass
        dbos, own = schema_names(target.namespace)
        output.say(
            f"namespace [cyan]{target.namespace}[/] is ready: schema [cyan]{dbos}[/] (DBOS, at least migration {DBOS_VERSION}) "
            f"and schema [cyan]{own}[/] (version {own_version()})"
        )
        output.document(
            {
                "namespace": target.namespace,
                "dbos_schema": dbos,
                "dbos_migration_min": DBOS_VERSION,
                "own_schema": own,
                "own_version": own_version(),
            }
        )

    run(output, work())


@grouped
def versions(*, output: Output) -> None:
    """Print which releases of temporalio, and which schema versions, this release works with."""
    first, last = (".".join(map(str, version)) for version in SUPPORTED)
    installed = tuple(int(part) for part in SDK_VERSION.split(".")[:2])
    supported = SUPPORTED[0] <= installed <= SUPPORTED[1]
    table = Table(show_header=False, box=None)
    table.add_row("dbos-compat", metadata.version("dbos-compat") if _installed() else "from a checkout")
    table.add_row("temporalio installed", SDK_VERSION + ("" if supported else " [red](not supported)[/]"))
    table.add_row("temporalio supported", f"{first} to {last}; tested: {', '.join(TESTED)}")
    table.add_row("DBOS system schema", f"migration {DBOS_VERSION} (DBOS 3.4) or later")
    table.add_row("own schema", f"version {own_version()}")
    output.table(table)
    output.document(
        {
            "dbos_compat": metadata.version("dbos-compat") if _installed() else None,
            "temporalio_installed": SDK_VERSION,
            "temporalio_supported": {
                "first": first,
                "last": last,
                "tested": list(TESTED),
                "installed_is_supported": supported,
            },
            "dbos_migration_min": DBOS_VERSION,
            "own_schema_version": own_version(),
        }
    )


def _installed() -> bool:
    try:
        metadata.version("dbos-compat")
    except metadata.PackageNotFoundError:
        return False
    return True
