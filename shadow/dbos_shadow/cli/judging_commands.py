"""``dbos-compat shadow replay``, ``run`` and ``watch``: judge runs from files, from a namespace, and as they close."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbos_compat.cli.grouped import grouped
from dbos_shadow.cli import options as o
from dbos_shadow.cli.ending import EXIT_CODES, Exit, Stopped, run

if TYPE_CHECKING:
    from dbos_shadow.campaign import Campaign, End
    from dbos_shadow.cli.asked import Code

FILES = o.SessionOptions(verdict=o.VerdictOptions(sample_floor=1))
"""In a folder there is what somebody has put there; a go for it needs no more than one run of a type."""
LIVE = o.SessionOptions(verdict=o.VerdictOptions(sample_floor=10))
EPILOG = "Example: dbos-compat shadow {example}  ·  " + EXIT_CODES


def add_to(app: typer.Typer) -> None:
    app.command(epilog=EPILOG.format(example="replay histories/ -w orders.workflows -o junit.xml"))(replay)
    app.command(
        "run", epilog=EPILOG.format(example="run -w orders.workflows --closed-after 7d --rate 0.05 -o report.html")
    )(run_live)
    app.command(
        epilog=EPILOG.format(example="watch -w orders.workflows --for 12h --stop-at-mismatches 1 -o report.html")
    )(watch)


@grouped
def replay(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...", help="Histories: JSON, Temporal Cloud exports, folders of them, gzipped or not."
        ),
    ],
    *,
    judged: o.CodeOptions,
    way: o.WayOptions,
    which: o.WhichOptions,
    sample: o.SampleOptions,
    asked: o.SessionOptions = FILES,
    fresh: o.Fresh = False,
) -> None:
    """Judge recorded histories in files. For continuous integration, and to look at one run closely."""

    async def work() -> Exit:
        from dbos_shadow.cli.asked import code_of, selection_of
        from dbos_shadow.cli.work import judge_and_show
        from dbos_shadow.reading.file_source import FileSource

        source = FileSource(paths)
        selection = selection_of(which, sample)
        code = code_of(judged, way, judged.namespace or "default")

        async def session(campaign: Campaign) -> End:
            return await campaign.run(selection, source)

        return await judge_and_show(
            code,
            way,
            asked,
            session,
            selection=selection,
            where=["files", *map(str, paths)],
            command=f"dbos-compat shadow replay {_braced(map(str, paths))} {_braced(code.words)}{_ONE}",
            fresh=fresh,
        )

    run(work(), as_json=asked.as_json)


@grouped
def run_live(
    *,
    judged: o.CodeOptions,
    way: o.WayOptions,
    server: o.ServerOptions,
    query: o.Query = "",
    which: o.WhichOptions,
    sample: o.SampleOptions,
    scouts: o.Scouts = 500,
    asked: o.SessionOptions = LIVE,
    fresh: o.Fresh = False,
) -> None:
    """Judge runs of a live namespace, once. It only lists and reads; start it again and it goes on where it was."""

    async def work() -> Exit:
        from dbos_shadow.cli.asked import code_of, namespace_of, selection_of
        from dbos_shadow.cli.work import judge_and_show

        selection = selection_of(which, sample, query, scouts)
        source = await namespace_of(server, judged.namespace)
        code = code_of(judged, way, source.client.namespace)

        async def session(campaign: Campaign) -> End:
            return await campaign.run(selection, source)

        return await judge_and_show(
            code,
            way,
            asked,
            session,
            selection=selection,
            where=["namespace", code.namespace],
            command=export_and_replay(code, server.connect),
            fresh=fresh,
        )

    run(work(), as_json=asked.as_json)


@grouped
def watch(
    *,
    judged: o.CodeOptions,
    way: o.WayOptions,
    server: o.ServerOptions,
    every: Annotated[
        float, typer.Option("--every", min=1, help="Seconds between two looks.", rich_help_panel=o.SERVER)
    ] = 30,
    query: o.Query = "",
    kinds: o.KindOptions,
    closed_after: o.ClosedAfter = None,
    sample: o.SampleOptions,
    scouts: o.Scouts = 50,
    asked: o.SessionOptions = LIVE,
) -> None:
    """Judge runs of a live namespace as they close, until a limit is reached; the report comes then. Without --closed-after it
    goes on where an earlier watch with the same code and options has stopped, or else begins now. It needs one of --for,
    --enough and --stop-at-mismatches. --scout holds for each look."""

    async def work() -> Exit:
        from dbos_shadow.cli.asked import code_of, namespace_of, selection_of
        from dbos_shadow.cli.work import judge_and_show

        if (asked.limits.deadline, asked.limits.stop_at, asked.limits.enough) == (None, None, None):
            raise Stopped("A watch needs an end: --for 12h, --enough 200, or --stop-at-mismatches 1.", Exit.USAGE)
        since = closed_after or datetime.now(UTC)
        selection = selection_of(o.WhichOptions(kinds=kinds, closed_after=since), sample, query, scouts)
        source = await namespace_of(server, judged.namespace)
        code = code_of(judged, way, source.client.namespace)

        async def session(campaign: Campaign) -> End:
            begin = closed_after or await campaign.left_off() or since
            return await campaign.watch(selection, source, since=begin, every_s=every)

        return await judge_and_show(
            code,
            way,
            asked,
            session,
            selection=selection,
            where=["namespace", code.namespace, "as they close"],
            command=export_and_replay(code, server.connect),
        )

    run(work(), as_json=asked.as_json)


# -- how a run is shown again --------------------------------------------------------------------------------------------

_ONE = " --id {workflow_id} --run-id {run_id}"


def export_and_replay(code: Code, where: o.ConnectOptions) -> str:
    """Shows a run of a live namespace again."""
    given = (("--address", where.address), ("--profile", where.profile), ("--client", where.client))
    words = [word for option, value in given if value is not None for word in (option, value)]
    server = _braced([*words, "--namespace", code.namespace])
    return (
        f"dbos-compat shadow export shadow-run {server}{_ONE} && "
        f"dbos-compat shadow replay shadow-run {_braced(code.words)}{_ONE}"
    )


def _braced(words: Iterable[str]) -> str:
    """Words of a shell, in a text that ``str.format`` reads."""
    return shlex.join(words).replace("{", "{{").replace("}", "}}")
