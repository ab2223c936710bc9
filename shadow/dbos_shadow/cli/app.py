"""The group ``dbos-compat shadow``. Each command's file says what it does; this one only puts them together.

What a command needs beyond the command line itself is imported when it runs: ``dbos-compat --help`` shall stay quick.
"""

from __future__ import annotations

import typer

from dbos_shadow.cli import accepting, exporting, judging_commands, kept_commands, mirroring
from dbos_shadow.cli.ending import EXIT_CODES

app = typer.Typer(
    name="shadow",
    help="Prove on recorded Temporal runs that the core does the same. Nothing is executed: no activity ever runs.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
)
judging_commands.add_to(app)
mirroring.add_to(app)
exporting.add_to(app)
kept_commands.add_to(app)
accepting.add_to(app)
