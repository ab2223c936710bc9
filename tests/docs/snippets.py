"""The runnable parts of a document.

* ```` ```python ```` is run as a program of its own, in the order of the page; ``await`` is allowed at its top level.
* ```` ```python file=orders.py ```` is written to a file, which later blocks import or run.
* ```` ```console ```` is run line by line: ``$ python …`` and ``$ dbos-compat …``, in the background with ``&`` at the
  end, and ``$ kill -9 %1`` ends the first of those. Output below a line is compared with what it printed, where ``...``
  stands for anything.
* ```` ```python skip="the reason" ```` is not run. Without a reason that is an error.
* ```` ```python only=postgres ```` looks at what is ours, like a table: it is left out where a page is run on Temporal.

Other languages are prose.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w+)[ \t]*(.*?)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
RUN = ("python", "console")


class BadSnippet(Exception):
    """A block that nobody can run, and why."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One block of a document."""

    language: str
    line: int
    text: str
    file: str | None = None
    skip: str | None = None
    ours: bool = False
    """It looks at what only our engine has."""


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a console block and the output that the document shows for it (None: it shows none)."""

    words: tuple[str, ...]
    output: str | None


def snippets(document: Path) -> list[Snippet]:
    """The blocks of a document that are run, or would be."""
    return parse(document.read_text(), document.name)


def parse(text: str, name: str) -> list[Snippet]:
    found = []
    for match in FENCE.finditer(text):
        language, info, body = match.groups()
        if language not in RUN:
            continue
        line = text.count("\n", 0, match.start()) + 1
        options = _options(info, f"{name}:{line}")
        found.append(Snippet(language, line, body, options.get("file"), options.get("skip"), "only" in options))
    return found


def _options(info: str, where: str) -> dict[str, str]:
    options = {}
    for word in shlex.split(info):
        key, _, value = word.partition("=")
        if key not in ("file", "skip", "only") or not value.strip() or (key == "only" and value != "postgres"):
            raise BadSnippet(f'{where}: {word!r} is no option. There are file=NAME, only=postgres and skip="REASON".')
        options[key] = value
    return options


def commands(snippet: Snippet) -> list[Command]:
    """The lines of a console block."""
    found: list[tuple[tuple[str, ...], list[str]]] = []
    for line in snippet.text.splitlines():
        if line.startswith("$ "):
            found.append((tuple(shlex.split(line[2:], comments=True)), []))
        elif found:
            found[-1][1].append(line)
        else:
            raise BadSnippet(f"line {snippet.line}: output before the first command")
    return [Command(words, "\n".join(output) + "\n" if output else None) for words, output in found]
