"""``dbos-compat shadow export``: runs of a live namespace into a folder, for ``replay`` and for Temporal's own replayer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dbos_shadow.cli import options as o
from dbos_shadow.cli.ending import EXIT_CODES, Exit, run


def add_to(app: typer.Typer) -> None:
    app.command(epilog=f"Example: dbos-compat shadow export histories/ --closed-after 7d --max 500  ·  {EXIT_CODES}")(
        export
    )


def export(
    folder: Annotated[
        Path, typer.Argument(help="Made if it is not there. A closed run that is in it is not read again.")
    ],
    namespace: o.Namespace = None,
    address: o.Address = None,
    profile: o.Profile = None,
    client: o.ClientFactory = None,
    per_second: o.PerSecond = 20.0,
    concurrency: o.Concurrency = 4,
    query: o.Query = "",
    types: o.Types = None,
    exclude_types: o.ExcludedTypes = None,
    statuses: o.Statuses = None,
    started_after: o.StartedAfter = None,
    started_before: o.StartedBefore = None,
    closed_after: o.ClosedAfter = None,
    closed_before: o.ClosedBefore = None,
    ids: o.Ids = None,
    run_ids: o.RunId = None,
    rate: o.Rate = 1.0,
    maximum: o.Maximum = None,
    floor: o.Floor = 5,
    seed: o.Seed = 0,
    zipped: Annotated[bool, typer.Option("--gzip", help="Write .json.gz.")] = False,
    as_json: o.Json = False,
) -> None:
    """Write histories of a live namespace as JSON files, payloads as the server has them: what a codec has encrypted stays
    encrypted. Hashed payloads are not offered: a workflow decides by its payloads, so its replay would go another way."""

    async def work() -> Exit:
        from dbos_shadow.cli.live import connect
        from dbos_shadow.reading.exporting import Exported, export_all
        from dbos_shadow.reading.live import Namespace
        from dbos_shadow.reading.pace import Pace
        from dbos_shadow.select import Selection, Window

        selection = Selection(
            query=query,
            types=tuple(types or ()),
            excluded_types=tuple(exclude_types or ()),
            statuses=tuple(statuses or ()),
            started=Window(after=started_after, before=started_before),
            closed=Window(after=closed_after, before=closed_before),
            ids=tuple(ids or ()),
            run_ids=tuple(run_ids or ()),
            rate=rate,
            maximum=maximum,
            floor=floor,
            seed=seed,
        )
        live = await connect(address=address, namespace=namespace, profile=profile, factory=client)
        source = Namespace(live, Pace(per_second=per_second, concurrency=concurrency))
        console = Console(stderr=True, highlight=False, quiet=as_json)
        with console.status("listing") as status:

            def told(found: Exported) -> None:
                status.update(f"{found.written + found.there} of {found.chosen}")

            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            found = await export_all(source, selection, folder, zipped=zipped, told=told)
        if as_json:
            typer.echo(found.text())
        else:
            Console(highlight=False).print(
                f"{found.written} histories written to {folder}, {found.there} were there, {found.gone} are gone "
                f"({found.seen} runs match)",
                markup=False,
                soft_wrap=True,
            )
        return Exit.CLEAN if found.written + found.there else Exit.CANNOT_TELL

    run(work(), as_json=as_json)
