"""Keep: what is left of a failure. A story to read, a picture, a history for Temporal's tools, and a test to paste in."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbos_shadow.determinism.failure import DeterminismError
from dbos_shadow.determinism.picture import svg
from dbos_shadow.determinism.story import story
from dbos_shadow.determinism.timeline import timeline

FOLDER_VARIABLE = "DBOS_COMPAT_DETERMINISM_DIR"
FOLDER = ".determinism"


@dataclass(frozen=True, slots=True)
class Source:
    """How a test that is pasted in gets at what was tested."""

    expression: str
    """A determinism test or a plan, in Python."""
    imports: tuple[str, ...] = ()
    """Lines that the expression needs."""
    place: str = ""
    """Where to paste it, for people."""

    @classmethod
    def of_test(cls, test: object, namespace: Mapping[str, Any]) -> Source:
        """Of a determinism test that a module calls by some name."""
        name = next((name for name, value in namespace.items() if value is test), "the_test")
        file = namespace.get("__file__")
        return cls(name, place=f"below {name} in {Path(file).name}" if isinstance(file, str) else f"below {name}")

    @classmethod
    def of_class(cls, workflow: type, then: type | None = None) -> Source:
        """Of a workflow class whose stubs are inferred; ``then`` takes over from it."""
        imports = [
            "from dbos_shadow.determinism import inferred",
            f"from {workflow.__module__} import {workflow.__qualname__.partition('.')[0]}",
        ]
        takes_over = ""
        if then is not None:
            name, _, inner = then.__qualname__.partition(".")
            imports.append(f"from {then.__module__} import {name} as Changed")
            takes_over = f", then=Changed{'.' * bool(inner)}{inner}"
        return cls(f"inferred({workflow.__qualname__}{takes_over})", tuple(imports), "into any test file")


def name_of(error: DeterminismError) -> str:
    """A name for the failure: the same for the same schedule of the same workflow."""
    snake = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", error.workflow)).lower().strip("_")
    digest = hashlib.sha256(repr((error.workflow, error.decisions)).encode()).hexdigest()[:6]
    return f"{snake}_{digest}"


def regression_test(error: DeterminismError, source: Source) -> str:
    """A test that runs the one schedule, and fails until the workflow is mended.

    Args:
        error: what the kit raised.
        source: how the test gets at what was tested.
    """
    imports = sorted({"from dbos_shadow.determinism import check_schedule", *source.imports})
    told = [f"# {line}".rstrip() for line in story(error, width=100).splitlines()]
    return "\n".join(
        [
            *_merged(imports),
            "",
            "",
            f"def test_{name_of(error)}() -> None:",
            *(f"    {line}" for line in told[:-1]),
            f"    check_schedule({source.expression}, decisions={list(error.decisions)})",
            "",
        ]
    )


def _merged(imports: Sequence[str]) -> list[str]:
    """Two imports of the kit as one line."""
    kit = "from dbos_shadow.determinism import "
    names = sorted(line.removeprefix(kit) for line in imports if line.startswith(kit))
    return sorted([kit + ", ".join(names), *(line for line in imports if not line.startswith(kit))])


@dataclass(frozen=True, slots=True)
class Kept:
    """The files of one failure."""

    folder: Path
    story: Path
    picture: Path
    test: Path
    history: Path | None


def keep(error: DeterminismError, source: Source, folder: Path | None = None) -> Kept | None:
    """Write the files.

    Args:
        error: what the kit raised.
        source: how a test gets at what was tested.
        folder: where; without one ``DBOS_COMPAT_DETERMINISM_DIR``, else ``.determinism``. An empty variable: nowhere.

    Returns:
        where they are, or None.
    """
    if folder is None:
        named = os.environ.get(FOLDER_VARIABLE, FOLDER)
        if not named:
            return None
        folder = Path(named)
    place = folder / name_of(error)
    place.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    kept = Kept(
        place,
        place / "story.txt",
        place / "timeline.svg",
        place / "again.py",
        None if error.history is None else place / "history.json",
    )
    kept.story.write_text(f"{story(error)}\n{timeline(error.happenings, error.workflow)}", encoding="utf-8")
    kept.picture.write_text(svg(error), encoding="utf-8")
    kept.test.write_text(regression_test(error, source), encoding="utf-8")
    if kept.history is not None and error.history is not None:
        kept.history.write_text(error.history, encoding="utf-8")
    return kept


def explain(error: DeterminismError, source: Source, kept: Kept | None) -> str:
    """All that is to be said of a failure, as text."""
    parts = [
        story(error),
        timeline(error.happenings, error.workflow),
        f"Paste this {source.place or 'into a test file'}:\n",
    ]
    parts.append("\n".join(f"    {line}".rstrip() for line in regression_test(error, source).splitlines()) + "\n")
    if kept is not None:
        history = " and history.json for Temporal's tools" if kept.history is not None else ""
        parts.append(f"In {kept.folder} are the picture (timeline.svg){history}.\n")
    return "\n".join(parts)


def tell(error: DeterminismError, source: Source) -> None:
    """Write the files, and let the error say where they are and what happened."""
    if not getattr(error, "__notes__", None):
        error.add_note(f"\n{explain(error, source, keep(error, source))}")
