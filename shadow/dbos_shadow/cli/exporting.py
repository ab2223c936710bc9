"""``dbos-compat shadow export``: runs of a live namespace into a folder, for ``replay`` and for Temporal's own replayer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dbos_compat.cli.grouped import grouped
from dbos_shadow.cli import options as o
from dbos_shadow.cli.ending import EXIT_CODES, Exit, run


def add_to(app: typer.Typer) -> None:
    app.command(epilog=f"Example: dbos-compat shadow export histories/ --closed-after 7d --max 500  ·  {EXIT_CODES}")(
        export
    )


@grouped
def export(
    folder: Annotated[
        Path, typer.Argument(help="Made if it is not there. A closed run that is in it is not read again.")
    ],
    *,
    namespace: o.Namespace = None,
    server: o.ServerOptions,
    query: o.Query = "",
    which: o.WhichOptions,
    sample: o.SampleOptions,
    scouts: o.Scouts = 500,
    zipped: Annotated[bool, typer.Option("--gzip", help="Write .json.gz.")] = False,
    as_json: o.Json = False,
) -> None:
    """Write histories of a live namespace as JSON files, payloads as the server has them: what a codec has encrypted stays
    encrypted. Hashed payloads are not offered: a workflow decides by its payloads, so its replay would go another way."""

    async def work() -> Exit:
        from dbos_shadow.cli.asked import namespace_of, selection_of
        from dbos_shadow.reading.exporting import Exported, export_all

        selection = selection_of(which, sample, query, scouts)
        source = await namespace_of(server, namespace)
        console = Console(stderr=True, highlight=False, quiet=as_json)
        with console.status("listing") as status:

            def told(found: Exported) -> None:
                status.update(f"{found.written + found.there} of {found.chosen}")

            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            found = await export_all(source, selection, folder, zipped=zipped, told=told)
        if as_json:
            typer.echo(found.text())
        else:
            histories = "history" if found.written == 1 else "histories"
            Console(highlight=False).print(
                f"{found.written} {histories} written to {folder}, {found.there} were there, {found.gone} are gone "
                f"({found.seen} runs match)",
                markup=False,
                soft_wrap=True,
            )
        return Exit.CLEAN if found.written + found.there else Exit.CANNOT_TELL

    run(work(), as_json=as_json)
