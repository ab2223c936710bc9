"""``dbos-compat shadow accept``: from the differences of a report to entries in the file of accepted differences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from dbos_compat.cli.run import duration
from dbos_shadow.cli.ending import EXIT_CODES, Exit, Stopped, as_asked, run

EXAMPLE = (
    "accept report.json 0c1f5ab2d9e87744 --reason 'agreed with billing' --owner ada@example.com --to accepted.toml"
)


def add_to(app: typer.Typer) -> None:
    app.command(epilog=f"Example: dbos-compat shadow {EXAMPLE}  ·  {EXIT_CODES}")(accept)


def accept(
    report: Annotated[Path, typer.Argument(help="A report (-o report.json).")],
    fingerprints: Annotated[
        list[str] | None, typer.Argument(metavar="FINGERPRINT...", help="Of which differences; else of all.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why they are all right.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Who is asked when the entry expires.")] = "",
    good_for: Annotated[
        timedelta, typer.Option("--for", parser=duration, metavar="DURATION", help="Until it expires.")
    ] = "90d",  # type: ignore[assignment]  # as it is written on a command line
    to: Annotated[
        Path | None, typer.Option("--to", help="Add them to this file; those that are in it stay. Else print them.")
    ] = None,
) -> None:
    """Propose entries for the file of accepted differences. They are for a review: an entry without a reason and an owner is
    refused when it is used."""

    async def work() -> Exit:
        from dbos_shadow.cli.asked import read_allowances, read_report
        from dbos_shadow.report.proposal import entries, proposed

        found = read_report(report)
        assert found is not None
        if to is not None and not (reason and owner):
            raise Stopped("An entry in a file needs a --reason and an --owner.", Exit.USAGE)
        known = {entry.fingerprint for entry in read_allowances(to).accepted} if to is not None and to.exists() else ()
        with as_asked():
            groups = proposed(found, fingerprints or (), known=known)
        expires = (datetime.now(UTC) + good_for).date()
        text = entries(groups, reason=reason, owner=owner, expires=expires)
        if to is None:
            typer.echo(text, nl=False)
        elif groups:
            before = to.read_text(encoding="utf-8").rstrip("\n") if to.exists() else ""
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(f"{before}\n\n{text}" if before else text, encoding="utf-8")
        typer.echo(f"{len(groups)} of {len(found.groups)} differences, good until {expires.isoformat()}", err=True)
        return Exit.CLEAN

    run(work(), as_json=False)
