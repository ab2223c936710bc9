"""``dbos-compat differences``: what is not as on Temporal, from the ledger."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from dbos_compat.cli.grouped import grouped
from dbos_compat.cli.run import Exit, Output, fail
from dbos_compat.differences import LEDGER, Difference, Kind


def add_to(app: typer.Typer) -> None:
    app.command(epilog="Example: dbos-compat differences schedules")(differences)


@grouped
def differences(
    slug: Annotated[str | None, typer.Argument(help="One entry, as errors name it. Without: all of them.")] = None,
    *,
    output: Output,
) -> None:
    """Print what is not as on Temporal, and what to do instead."""
    if slug is None:
        entries = list(LEDGER.values())
    elif slug in LEDGER:
        entries = [LEDGER[slug]]
    else:
        fail(output, f"the ledger has no entry {slug!r}. It has: {', '.join(sorted(LEDGER))}.", Exit.USAGE)
    for kind in Kind:
        of_kind = [entry for entry in entries if entry.kind is kind]
        if of_kind:
            output.table(_table(kind, of_kind))
    output.document([_document(entry) for entry in entries])


def _table(kind: Kind, entries: list[Difference]) -> Table:
    table = Table(title=f"{kind.value} ({len(entries)})", title_justify="left", title_style="bold", show_lines=True)
    table.add_column("entry", style="cyan", no_wrap=True)
    table.add_column("what")
    table.add_column("what to do")
    for entry in entries:
        table.add_row(entry.slug, entry.feature, entry.advice)
    return table


def _document(entry: Difference) -> dict[str, object]:
    return {
        "slug": entry.slug,
        "kind": entry.kind.name.lower(),
        "feature": entry.feature,
        "advice": entry.advice,
        "since": entry.since,
        "rpcs": list(entry.rpcs),
        "guide": entry.anchor,
    }
