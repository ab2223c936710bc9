"""Keep: what is left of a failure. A story to read, a picture, a history for Temporal's tools, and a test to paste in."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbos_shadow.determinism.elsewhere import reference_to
from dbos_shadow.determinism.failure import DeterminismError
from dbos_shadow.determinism.picture import svg
from dbos_shadow.determinism.plan import Plan, plan
from dbos_shadow.determinism.story import story
from dbos_shadow.determinism.timeline import timeline

FOLDER_VARIABLE = "DBOS_COMPAT_DETERMINISM_DIR"
FOLDER = ".determinism"
TIMES = 2
"""So often a schedule is lived by a test that does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Source:
    """How a test that is pasted in gets at what was tested."""

    expression: str
    """A determinism test or a plan, in Python."""
    imports: tuple[str, ...] = ()
    """Lines that the expression needs."""
    place: str = ""
    """Where to paste it, for people."""

    hint: str = ""
    """What is to be done to the test by hand, if anything."""

    @classmethod
    def of(cls, tested: Any, *modules: str) -> Source:
        """Of a determinism test or a plan that one of these modules calls by some name, or of an inferred plan."""
        found: Any = getattr(tested, "plan", tested)
        reference = reference_to(found, *modules)
        if reference is not None and reference.options is None:
            file = reference.file or reference.module
            return cls(
                reference.expression, place=f"below {reference.attribute.partition('.')[0]} in {Path(file).name}"
            )
        if isinstance(found, Plan) and found.inferred is not None and found == found.inferred.made:
            return cls.of_plan(found)
        return cls(
            "the_test",
            hint=f"the_test: put in its place what was tested, the determinism test or plan of {found.name}. No attribute of "
            "a module leads to it: give it a name at the top of its module, and write that name here.",
        )

    @classmethod
    def of_plan(cls, tested: Plan) -> Source:
        """Of an inferred plan."""
        options = {} if tested.inferred is None else dict(tested.inferred.options)
        then = options.pop("then", None)
        return cls.of_class(
            tested.definition.cls, None if then is None or tested.then is None else tested.then.cls, **options
        )

    @classmethod
    def of_class(cls, workflow: type, then: type | None = None, **options: Any) -> Source:
        """Of a workflow class whose stubs are inferred.

        Args:
            workflow: the class.
            then: one that takes over from it.
            options: with which it was inferred.
        """
        name, line = _imported(workflow)
        imports = ["from dbos_shadow.determinism import inferred", line]
        words = [name]
        if then is not None:
            name, line = _imported(then, "Changed")
            imports.append(line)
            words.append(f"then={name}")
        usual = {name: parameter.default for name, parameter in inspect.signature(plan).parameters.items()}
        missing: list[str] = []
        for option, value in options.items():
            if not _literal(value):
                missing.append(option)
            elif value != usual.get(option):
                words.append(f"{option}={_written(value)}")
        hint = f"It was found with {' and '.join(missing)}, too: give that to inferred()." if missing else ""
        return cls(f"inferred({', '.join(words)})", tuple(imports), "into any test file", hint)


def _imported(workflow: type, alias: str = "") -> tuple[str, str]:
    """A class's name, where a line has imported it."""
    reference = reference_to(workflow, workflow.__module__)
    name = workflow.__qualname__ if reference is None else reference.expression
    top = re.split(r"[.\[]", name, maxsplit=1)[0]
    line = f"from {workflow.__module__} import {top}"
    return (f"{alias}{name.removeprefix(top)}", f"{line} as {alias}") if alias else (name, line)


def _literal(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_literal, value))
    return value is None or isinstance(value, (bool, int, str))


def _written(value: Any) -> str:
    text = repr(value)
    return text if '"' in text or "\\" in text else text.replace("'", '"')


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
    hint = textwrap.wrap(source.hint, 100, initial_indent="# ", subsequent_indent="# ")
    words = [source.expression, f"decisions={list(error.decisions)}"]
    if error.times > TIMES:
        words.append(f"times={error.times}")
    if error.hash_seeds:
        words.append(f"hash_seeds={list(error.hash_seeds)}")
    return "\n".join(
        [
            *_merged(imports),
            "",
            "",
            f"def test_{name_of(error)}() -> None:",
            *(f"    {line}" for line in (*told[:-1], *hint)),
            f"    check_schedule({', '.join(words)})",
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
