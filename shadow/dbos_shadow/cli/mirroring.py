"""``dbos-compat shadow mirror``: the back of a mirror, as a command."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from dbos_compat.cli.grouped import grouped
from dbos_shadow.cli import options as o
from dbos_shadow.cli.ending import Exit, Stopped, run
from dbos_shadow.cli.judging_commands import EPILOG, LIVE, export_and_replay

ASKED = dataclasses.replace(LIVE, name="mirror")


def add_to(app: typer.Typer) -> None:
    app.command(epilog=EPILOG.format(example="mirror -w orders.workflows --database postgresql://shadow@db/staging"))(
        mirror
    )


@grouped
def mirror(
    *,
    judged: o.CodeOptions,
    where: o.ConnectOptions,
    concurrency: o.Concurrency = 16,
    query: Annotated[
        str,
        typer.Option(
            "--query",
            "-q",
            help="Also runs that begin from now on and match this list filter: those of schedules, of services without a "
            "mirror.",
            rich_help_panel=o.SELECTION,
        ),
    ] = "",
    runs_at_once: Annotated[
        int,
        typer.Option(
            "--runs-at-once", min=1, help="Followed, each with its history in memory.", rich_help_panel=o.SERVER
        ),
    ] = 2_000,
    caught_up: Annotated[
        bool,
        typer.Option("--caught-up", help="Stop when every run that was noted has a verdict.", rich_help_panel=o.LIMITS),
    ] = False,
    asked: o.SessionOptions = ASKED,
    mirror_name: o.MirrorName = "mirror",
) -> None:
    """Follow the runs that a mirror in front of your services has noted, and judge each when Temporal has closed it. No
    activity runs. It goes on until it is stopped or a limit is reached; then the report comes. All is in --database, where
    the notes are: start it again, and it goes on from there."""

    async def work() -> Exit:
        from dbos_shadow.cli.asked import client_of, code_of
        from dbos_shadow.cli.following import follow_and_show

        if asked.place.database is None:
            raise Stopped(
                "A mirror needs --database (DBOS_SHADOW_DATABASE_URL): the Postgres that Mirror(url=...) in your services "
                "writes to.",
                Exit.USAGE,
            )
        if asked.limits.run_deadline is not None:
            raise Stopped("A run is followed for as long as it takes on Temporal: no --run-deadline here.", Exit.USAGE)
        temporal = await client_of(where, judged.namespace)
        code = code_of(judged, o.WayOptions(), temporal.namespace)
        return await follow_and_show(
            temporal,
            code,
            asked,
            url=asked.place.database,
            mirror=mirror_name,
            has_converter=judged.data_converter is not None,
            histories_at_once=concurrency,
            runs_at_once=runs_at_once,
            query=query,
            caught_up=caught_up,
            command=export_and_replay(code, where),
        )

    run(work(), as_json=asked.as_json)
