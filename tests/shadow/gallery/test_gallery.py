"""Every bug of the gallery is found within a minute, with one fault at most and few steps; the mended ones hold."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import pytest

from dbos_shadow.determinism import Kind, Profile, check_schedule, check_workflow
from dbos_shadow.determinism.lint import lint
from dbos_shadow.determinism.story import faults, story
from tests.shadow.gallery.page import find, gallery, read, sections, told

GALLERY = gallery()
NAMES = list(GALLERY)
FOUND_WITHIN_S = 60
MENDED_FAST = Profile(name="mended", schedules=40, seconds=2, hash_seeds=0)
MENDED_LONG = Profile(name="mended", schedules=10_000, seconds=1_500, hash_seeds=2)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", NAMES)
def test_the_bug_is_found(name: str) -> None:
    shape = GALLERY[name]
    begun = time.process_time()
    error = find(shape)
    took_s = time.process_time() - begun
    assert error is not None, "not found"
    print(story(error))
    assert error.rule in shape.rules, story(error)
    assert faults(error.happenings) <= 1, story(error)
    assert sum(h.kind is Kind.STEP for h in error.happenings) <= shape.steps_max, story(error)
    assert took_s < FOUND_WITHIN_S
    written = sections(read())[shape.title]
    assert inspect.getsource(shape.shown).strip() in written
    if shape.steady:
        assert told(error) in written, f"print the page anew:\n{told(error)}"
    else:
        assert f'"{error.rule.value}"' in written or any(f'"{rule.value}"' in written for rule in shape.rules)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_the_mended_one_holds(name: str) -> None:
    mended = GALLERY[name].mended
    explored = check_workflow(mended, profile=MENDED_FAST)
    assert explored.schedules > 0
    assert check_schedule(mended, decisions=[], hash_seeds=()).error is None


@pytest.mark.nightly
@pytest.mark.timeout(1_700)
@pytest.mark.parametrize("name", NAMES)
def test_the_mended_one_holds_for_long(name: str) -> None:
    check_workflow(GALLERY[name].mended, profile=MENDED_LONG)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_linter_sees_of_it(name: str) -> None:
    shape = GALLERY[name]
    file = Path(inspect.getsourcefile(shape.shown) or "")
    source, begins = inspect.getsourcelines(shape.shown)
    lines = range(begins, begins + len(source))
    seen = {finding.rule for finding in lint([file]) if finding.line in lines}
    assert seen == shape.linted


def test_the_page_has_every_shape() -> None:
    assert list(sections(read())) == [shape.title for shape in GALLERY.values()]
