"""The command ``dbos-compat``: schema, retention, workflows, differences.

Output is made for people; ``--json`` makes it for programs (one JSON document on standard output, errors too on
standard error). Exit codes are in :class:`dbos_compat.cli.run.Exit` and at the end of ``dbos-compat --help``.
"""

from __future__ import annotations

from dbos_compat.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """The entry point of the script ``dbos-compat``."""
    app(prog_name="dbos-compat")
