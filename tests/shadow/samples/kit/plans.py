"""Plans for the workflow classes of a checkout, by their place: ``hello/hello_signal.py:GreetingWorkflow``.

Another process finds them in ``PLANS``; it has the checkout in its import path.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbos_shadow.determinism import Plan, inferred
from dbos_shadow.determinism.inferred import workflows_of
from dbos_shadow.determinism.lint import defines_workflow
from tests.shadow.samples.kit.told import KNOWN, TOLD

WITHOUT = "!"
"""Ends a place: without that which is known to break it."""


def files(samples: Path) -> Iterator[str]:
    """Files of a checkout in which workflows are defined, without its own tests."""
    for path in sorted(samples.rglob("*.py")):
        place = path.relative_to(samples)
        if place.parts[0] == "tests" or any(part.startswith(".") for part in place.parts):
            continue
        if defines_workflow(path.read_text(encoding="utf-8", errors="replace")):
            yield place.as_posix()


def workflows_in(file: str) -> list[str]:
    """The workflow classes of a file, which is imported from the checkout that is first in the import path."""
    return [cls.__name__ for cls in workflows_of(importlib.import_module(_module(file)))]


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


class Plans:
    """A mapping from places to plans."""

    def __getitem__(self, place: str) -> Plan:
        known = place.removesuffix(WITHOUT)
        file, _, name = known.partition(":")
        module = importlib.import_module(_module(file))
        options: dict[str, Any] = {"sandboxed": False}
        if known in TOLD:
            options |= TOLD[known](module)
        if place.endswith(WITHOUT):
            options |= KNOWN[known].without(module)
        return inferred(getattr(module, name), **options)


PLANS = Plans()
