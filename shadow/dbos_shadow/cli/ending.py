"""Ending: what a command of the shadow exits with, and what it says when it cannot go on."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import os
import sys
import traceback
from collections.abc import Coroutine, Iterator
from typing import Any, NoReturn

import typer
from rich.console import Console
from temporalio.service import RPCError, RPCStatusCode

from dbos_core.errors import DBOSCompatError, Theirs
from dbos_shadow.quiet import DEBUG, quiet

__all__ = ["EXIT_CODES", "Exit", "Stopped", "as_asked", "fail", "run"]


class Exit(enum.IntEnum):
    """What the exit status says. The same for every command of the shadow."""

    CLEAN = 0
    MISMATCHES = 1
    USAGE = 2
    CANNOT_TELL = 3
    """Inconclusive, or fewer runs than the floor of the sample."""
    OWN_FAILURE = 4
    """The shadow, its database or the server failed."""


EXIT_CODES = (
    "Exit codes: 0 clean · 1 mismatches, or an accepted difference has expired · 2 wrong usage · 3 inconclusive, or too "
    "few runs · 4 the shadow itself failed"
)


_OF_THE_EXTRA = frozenset({"hypothesis", "jinja2", "pydantic", "yaml"})


class Stopped(Exception):
    """Ends a command with a message and an exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


@contextlib.contextmanager
def as_asked() -> Iterator[None]:
    """Around what is made of the options of a command: a value that it refuses is wrong usage. Everywhere else a
    ``ValueError`` is as much our own failure as any other."""
    try:
        yield
    except ValueError as error:
        raise Stopped(str(error), Exit.USAGE) from error


def run(work: Coroutine[Any, Any, Exit], *, as_json: bool) -> NoReturn:
    """Run a command's work and exit with what it says."""
    try:
        with quiet():
            code = asyncio.run(work)
    except Stopped as stopped:
        fail(str(stopped), stopped.code, as_json=as_json)
    except Theirs as error:
        fail(str(error), Exit.USAGE, as_json=as_json)
    except DBOSCompatError as error:
        fail(str(error), Exit.OWN_FAILURE, as_json=as_json)
    except RPCError as error:
        wrong = error.status in (
            RPCStatusCode.INVALID_ARGUMENT,
            RPCStatusCode.NOT_FOUND,
            RPCStatusCode.PERMISSION_DENIED,
        )
        said = f"Temporal refuses: {error.message} ({error.status.name})"
        fail(said, Exit.USAGE if wrong else Exit.OWN_FAILURE, as_json=as_json)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted. What was judged is kept: the same command goes on from here.")
        raise typer.Exit(130) from None
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        said = f"The shadow needs {error.name}, of the extra: pip install 'dbos-compat[shadow]'"
        fail(said, Exit.USAGE, as_json=as_json)
    except OSError as error:
        fail(f"{error.filename or ''}: {error.strerror or error}", Exit.OWN_FAILURE, as_json=as_json)
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        places = " < ".join(
            f"{frame.name} ({os.path.basename(frame.filename)}:{frame.lineno})" for frame in frames[::-1]
        )
        message = (
            f"The shadow itself failed: {type(error).__name__} in {places}. What was judged is kept. Please report it; "
            "DBOS_COMPAT_DEBUG=1 shows all of it, payloads perhaps included."
        )
        fail(message, Exit.OWN_FAILURE, as_json=as_json)
    raise typer.Exit(int(code))


def fail(message: str, code: Exit, *, as_json: bool) -> NoReturn:
    """Say on standard error what went wrong, and exit."""
    if as_json:
        sys.stderr.write(json.dumps({"error": message, "exit_code": int(code)}, ensure_ascii=False) + "\n")
    else:
        console = Console(stderr=True, highlight=False)
        console.print("error:", style="red", end=" ")
        console.print(message, soft_wrap=True, markup=False)
    raise typer.Exit(int(code))
