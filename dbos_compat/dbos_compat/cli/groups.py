"""Groups of commands that live above this package: found by name when somebody asks for them, imported not before.

Dependencies point down: nothing here knows what is in such a group, and where the package above is not installed the group
is not there.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import typer.core
import typer.main

ABOVE = {
    "determinism": "dbos_shadow.cli.determinism:app",
    "shadow": "dbos_shadow.cli.app:app",
}
"""Name of a group → module and attribute of its ``typer.Typer``."""


class OpenGroup(typer.core.TyperGroup):
    """A group with room for commands that are imported when they are needed."""

    # Contexts and commands are click's or typer's own copy of click's, as the release has it.

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(name for name, target in ABOVE.items() if _is_there(target))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        target = ABOVE.get(cmd_name)
        if target is None or not _is_there(target):
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target.partition(":")
        command = typer.main.get_command(getattr(importlib.import_module(module), attribute))
        command.name = cmd_name
        return command


def _is_there(target: str) -> bool:
    return importlib.util.find_spec(target.partition(".")[0]) is not None
