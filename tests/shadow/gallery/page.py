"""The page that lists the gallery: each bug with its code, the story that the kit found, and what to do instead."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path

from dbos_shadow.determinism import DeterminismError, Profile, check_workflow
from dbos_shadow.determinism.story import faults, story
from tests.fixtures.process import REPOSITORY
from tests.shadow.gallery import shapes
from tests.shadow.gallery.shape import Shape

PAGE = REPOSITORY / "migration_guides" / "gallery.md"
FINDING = Profile(name="finding", schedules=400, seconds=12, hash_seeds=2)

ORDER = (
    "set_of_tasks",
    "random_child_id",
    "wall_clock",
    "set_of_strings",
    "edit_without_patch",
    "patch_removed",
    "handler_races_end",
    "update_lost",
    "forgetful_saga",
    "module_state",
    "cleanup_on_eviction",
    "gathered_locals",
    "swallowed_cancellation",
)


def gallery() -> Mapping[str, Shape]:
    """All shapes by the name of their file, in the order of the page."""
    names = {module.name for module in pkgutil.iter_modules(shapes.__path__)}
    assert names == set(ORDER), "the page has an order: put new shapes into it"
    return {name: importlib.import_module(f"{shapes.__name__}.{name}").SHAPE for name in ORDER}


def find(shape: Shape) -> DeterminismError | None:
    """Let the kit look for the bug."""
    try:
        check_workflow(shape.broken, profile=FINDING, reference=shape.reference)
    except DeterminismError as error:
        return error
    return None


def told(error: DeterminismError) -> str:
    """The story as the page has it: without what differs from run to run or from release to release."""
    text = story(error, width=100).rpartition("decisions=")[0].rstrip()
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    text = re.sub(r"Recorded\s+with\s+temporalio.*?(?=\n\n|$)", "...", text, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in text.splitlines())


def entry(name: str, shape: Shape, error: DeterminismError) -> str:
    """One bug on the page."""
    code = inspect.getsource(shape.shown)
    count = faults(error.happenings)
    return f"""\
## {shape.title}

```text
{code.rstrip()}
```

Found as "{error.rule.value}", with {("no fault at all", "one fault")[count] if count < 2 else f"{count} faults"}:

```text
{told(error)}
```

{shape.lesson}{_linted(shape)} [Broken and mended](../tests/shadow/gallery/shapes/{name}.py).
"""


def _linted(shape: Shape) -> str:
    if not shape.linted:
        return " No linter sees it."
    return f" `dbos-compat determinism lint` sees it, too ({', '.join(sorted(shape.linted))})."


HEAD = """\
# A gallery of bugs

For somebody who wonders what the [determinism kit](determinism.md) finds. Each of these workflows looks right, and most
pass their tests. Below each is the shortest schedule that breaks it, as the kit prints it: ⚡ marks what went wrong in the
world, ✗ what broke. The test-suite finds them all anew at every run (`tests/shadow/gallery`), and tries the mended ones on
thousands of schedules.

This page is printed: `python -m tests.shadow.gallery > migration_guides/gallery.md`.
"""


def page(found: Mapping[str, DeterminismError]) -> str:
    """The whole page."""
    entries = [entry(name, shape, found[name]) for name, shape in gallery().items()]
    return "\n".join(
        [HEAD, *entries, "How to go back: there is nothing to go back from. Tests are all that changed.\n"]
    )


def sections(text: str) -> dict[str, str]:
    """A page's entries by their titles."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def read() -> str:
    return Path(PAGE).read_text(encoding="utf-8")
