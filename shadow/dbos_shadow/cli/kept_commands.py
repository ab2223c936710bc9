"""``dbos-compat shadow report`` and ``purge``: what is kept of earlier sessions, shown again, and deleted."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dbos_compat.cli.grouped import grouped
from dbos_compat.cli.run import duration
from dbos_shadow.cli import options as o
from dbos_shadow.cli.ending import EXIT_CODES, Exit, run

if TYPE_CHECKING:
    from dbos_core.results import CampaignRow, ReadableResults

Config = Annotated[
    str | None,
    typer.Option(
        "--config", help="Hash of a configuration, or its beginning. Else the latest.", rich_help_panel=o.RESULTS
    ),
]


def add_to(app: typer.Typer) -> None:
    app.command(epilog=f"Example: dbos-compat shadow report -o report.html --against last.json  ·  {EXIT_CODES}")(
        report
    )
    app.command(epilog=f"Example: dbos-compat shadow purge --older-than 30d  ·  {EXIT_CODES}")(purge)


@grouped
def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RESULTS...", help="Files of results, of the shards of a pipeline: one report of all."),
    ] = None,
    *,
    config: Config = None,
    verdict: o.VerdictOptions,
    place: o.PlaceOptions,
    name: o.Name = "",
    reports: o.ReportOptions,
    hashes: o.HashOptions,
    as_json: o.Json = False,
) -> None:
    """Make a report of all results that are kept under one configuration; no run is judged again."""

    async def work() -> Exit:
        from dbos_shadow.cli import work as w
        from dbos_shadow.cli.asked import opened, read_report, rule_of, shards_of, showing_of
        from dbos_shadow.cli.outputs import check_suffixes

        check_suffixes(reports.out or ())
        before = read_report(reports.against)
        shown = showing_of(o.ShownOptions(hashes=hashes))
        async with shards_of(files) if files else opened(place, create=False) as results:
            campaign = await _campaign(results, config, name)
            report_as = w.kept_as(campaign, shown, rule_of(verdict), label=reports.label)
            made, lines = await w.make_report(results, campaign.config, report_as)
        ending = (Exit(made.exit_code), "")
        return w.finish(made, lines, before=before, out=reports.out or (), as_json=as_json, ending=ending)

    run(work(), as_json=as_json)


@grouped
def purge(
    *,
    older_than: Annotated[
        timedelta,
        typer.Option("--older-than", parser=duration, metavar="DURATION", help="Since they were judged: 30d, 12h ..."),
    ],
    config: Config = None,
    place: o.PlaceOptions,
    mirror: o.MirrorName = "mirror",
    as_json: o.Json = False,
) -> None:
    """Delete results that are older than that; of a mirror in the same database its verdicts and journals, too. Nothing in
    Temporal is touched."""

    async def work() -> Exit:
        from dbos_shadow.cli.asked import opened

        before = datetime.now(UTC) - older_than
        async with opened(place, create=False) as results:
            one = (await _campaign(results, config, "")).config if config is not None else None
            deleted = await results.purge(before_ms=int(before.timestamp() * 1000), config=one)
        mirrored = None
        if place.database is not None and config is None:
            from dbos_shadow.mirror import purge_mirror

            mirrored = await purge_mirror(place.database, older_than, namespace=mirror)
        if as_json:
            found = {"deleted": deleted, "mirrored_deleted": mirrored or 0, "before": before.isoformat()}
            typer.echo(json.dumps(found))
        else:
            also = "" if mirrored is None else f" and {mirrored} mirrored runs"
            Console(highlight=False).print(f"deleted {deleted} results{also} from before {before:%Y-%m-%d %H:%M} UTC")
        return Exit.CLEAN

    run(work(), as_json=as_json)


async def _campaign(results: ReadableResults, config: str | None, name: str) -> CampaignRow:
    """The latest campaign, of a name or a configuration if they are given."""
    from dbos_shadow.cli.ending import Stopped

    found = [row for row in await results.campaigns(name or None) if row.config.startswith(config or "")]
    if not found:
        known = ", ".join(sorted({row.config for row in await results.campaigns()})) or "none"
        raise Stopped(f"No such campaign is kept here. There are the configurations: {known}.", Exit.USAGE)
    if config is not None and len(found) > 1:
        raise Stopped(f"{config!r} begins {len(found)} configurations. Write more of it.", Exit.USAGE)
    return found[0]
