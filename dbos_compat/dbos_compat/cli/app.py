"""The tree of commands. Each command's file says what it does; this one only puts them together."""

from __future__ import annotations

import typer

from dbos_compat.cli import ledger, retention, schema
from dbos_compat.cli.groups import OpenGroup
from dbos_compat.cli.run import EXIT_CODES
from dbos_compat.cli.runs import app as runs_app
from dbos_compat.cli.workflows import app as workflow_app

app = typer.Typer(
    name="dbos-compat",
    cls=OpenGroup,
    help="Temporal workflows on a DBOS-compatible checkpoint core, in your own process, on Postgres.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
schema.add_to(app)
retention.add_to(app)
ledger.add_to(app)
app.add_typer(workflow_app, name="workflow")
app.add_typer(runs_app, name="runs")
