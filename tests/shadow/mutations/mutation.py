"""Mutation: one edit of one program, made in its source text; and the program as it is then."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dbos_shadow.difference import Level
from tests.shadow.corpus.programs import THEMES
from tests.shadow.corpus.theme import Theme

PROGRAMS = "tests.shadow.corpus.programs."


@dataclass(frozen=True, slots=True)
class Mutation:
    """One edit, and the first divergence that a replay of recorded histories must name."""

    name: str
    scene: str
    """``theme/scene``: whose histories show it."""
    place: str
    """``module:Class`` (or a dotted path of one that is no program): the edit is made inside of it."""
    before: str
    """Source text that is there exactly once."""
    after: str
    found: str
    """Level, kind and path of the first divergence: ``L2 value activity send: inputs[1]``."""
    workflow_type: str = ""
    """Of the run that shows it, where the scene has runs of several types."""

    @property
    def level(self) -> Level:
        return Level(int(self.found[1]))

    @property
    def module(self) -> str:
        name = self.place.partition(":")[0]
        return name if "." in name else PROGRAMS + name

    def source(self) -> str:
        """The module's text, edited.

        Raises:
            ValueError: the text to be replaced is not there exactly once.
        """
        text = inspect.getsource(importlib.import_module(self.module))
        begin, end = _extent(text, self.place.partition(":")[2])
        inside = text[begin:end]
        if (found := inside.count(self.before)) != 1:
            raise ValueError(f"{self.name}: {self.before!r} is {found} times in {self.place}, and should be there once")
        return text[:begin] + inside.replace(self.before, self.after) + text[end:]


def edits(
    scene: str, place: str, *, rows: Sequence[tuple[str, str, str, str]], workflow_type: str = ""
) -> list[Mutation]:
    """Rows of name, text before, text after, and what must be found."""
    return [Mutation(name, scene, place, before, after, found, workflow_type) for name, before, after, found in rows]


def _extent(text: str, definition: str) -> tuple[int, int]:
    """Where a class or function of the top level begins and ends; nothing given: all of it."""
    if not definition:
        return 0, len(text)
    for head in (f"\nclass {definition}", f"\ndef {definition}(", f"\nasync def {definition}("):
        if (begin := text.find(head)) >= 0:
            break
    else:
        raise ValueError(f"there is no {definition}")
    ends = [
        end
        for mark in ("\n@", "\nclass ", "\ndef ", "\nasync def ", "\ntheme.")
        if (end := text.find(mark, begin + 1)) > 0
    ]
    return begin, min(ends, default=len(text))


@contextmanager
def mutated(mutation: Mutation, original: Theme | None = None) -> Iterator[Theme]:
    """The theme (that of the scene, if none is given) with the edited workflows. Activities are not run: it has none."""
    name = f"{mutation.module}_mutated"
    module = types.ModuleType(name)
    module.__file__ = f"<{mutation.name}>"
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(mutation.source(), module.__file__, "exec"), vars(module))
        yield _theme(original or THEMES[mutation.scene.partition("/")[0]], module)
    finally:
        del sys.modules[name]


def _theme(original: Theme, module: types.ModuleType) -> Theme:
    for thing in vars(module).values():
        if isinstance(thing, Theme) and thing.name == original.name:
            return dataclasses.replace(thing, sandboxed=False, activities=[])
    workflows = [getattr(module, workflow.__name__, workflow) for workflow in original.workflows]
    return dataclasses.replace(original, workflows=workflows, sandboxed=False, activities=[])
