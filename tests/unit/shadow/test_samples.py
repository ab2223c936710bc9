"""The command that runs the public samples: its plays, and the page that it writes. No sample is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dbos_shadow.determinism import Rule
from tests.fixtures.process import REPOSITORY
from tests.shadow.samples import document
from tests.shadow.samples.__main__ import Outcome
from tests.shadow.samples.kit import page
from tests.shadow.samples.kit.outcome import Outcome as Explored
from tests.shadow.samples.kit.outcome import outcomes_of
from tests.shadow.samples.kit.plans import files
from tests.shadow.samples.kit.told import LEFT_OUT as LEFT_OUT_OF_THE_KIT
from tests.shadow.samples.plays import LEFT_OUT, plays


def run(verdict: str, shape: str = "a") -> dict[str, object]:
    return {
        "type": "Hello",
        "events": 11,
        "shape": shape,
        "verdict": verdict,
        "reason": "",
        "told": "L1 x",
        "temporal": "",
    }


def outcomes() -> list[Outcome]:
    first, second, third = list(plays())[:3]
    return [
        Outcome(first, [run("match"), run("match", "b")]),
        Outcome(second, [run("mismatch")]),
        Outcome(third, not_run="needs a package"),
    ]


def test_plays_have_names_of_their_own_and_programs_inside_of_the_checkout() -> None:
    found = list(plays())
    assert len({play.name for play in found}) == len(found) > 40
    for play in found:
        for act in play.acts:
            assert all(not words.startswith(("/", "..")) for words in (act.worker, *act.starters))


def test_a_play_without_a_history_is_not_well() -> None:
    assert [outcome.well for outcome in outcomes()] == [True, False, False]


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{document.BEGIN}\nresults of last time\n{document.END}\nafter\n")
    document.write(page, outcomes(), LEFT_OUT, "0" * 40)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "last time" not in text
    assert "**3 histories of 2 shapes, 2 the same**, 1 different, 0 without an answer" in text
    assert "| Hello:  L1 x |" in text
    assert "| needs a package |" in text
    assert all(names in text for names in LEFT_OUT)
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place for results"):
        document.write(page, outcomes(), LEFT_OUT, "0" * 40)


def test_the_page_of_the_project_has_a_place() -> None:
    text = (REPOSITORY / "docs" / "shadow-corpus.md").read_text()
    assert document.BEGIN in text
    assert document.END in text


# -- under the determinism kit -------------------------------------------------------------------------------------------

KNOWN_PLACE = "polling/periodic_sequence/workflows.py:ChildWorkflow"
HELD = {"schedules": 10_000, "tasks": 20_000, "replayed": 21, "elsewhere": 40, "unchecked": [], "seconds": 40.0}
BROKEN = {
    "rule": Rule.CANCEL_ENDS.value,
    "what": "it goes on.",
    "story": "It breaks.\n\n 1 It goes on\n\ndecisions=[0]\n",
}


def explored() -> list[Explored]:
    file, _, name = KNOWN_PLACE.partition(":")
    lines = [{"workflow": "Fine", **HELD}, {"workflow": name, **BROKEN, "without": HELD}, {"workflow": "Odd", **BROKEN}]
    missing = {"failed": "ModuleNotFoundError: No module named 'trio'"}
    return [
        *outcomes_of(file, "\n".join(map(json.dumps, lines))),
        *outcomes_of("trio_async/workflows.py", json.dumps(missing)),
    ]


def test_what_is_known_to_break_is_well_and_all_else_that_breaks_is_not() -> None:
    assert [outcome.verdict for outcome in explored()] == ["holds", "breaks", "LOOK", "not tried"]
    assert [outcome.well for outcome in explored()] == [True, True, False, True]
    assert [outcome.schedules for outcome in explored()] == [10_000, 10_000, 0, 0]
    assert explored()[3].remark == "needs trio"


def test_what_is_known_to_break_and_does_not_is_not_well() -> None:
    mended = Explored(KNOWN_PLACE, HELD)
    assert mended.verdict == "LOOK"
    assert "strike it off" in mended.remark
    other = Explored(KNOWN_PLACE, {**BROKEN, "rule": Rule.WAKE_UP.value, "without": HELD})
    assert not other.well
    still = Explored(KNOWN_PLACE, {**BROKEN, "without": BROKEN})
    assert not still.well


def test_the_page_of_the_kit_says_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{page.BEGIN}\nresults of last time\n{page.END}\nafter\n")
    page.write(explored(), "0" * 40, path)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "last time" not in text
    assert "**3 workflows, 20,000 schedules: 1 hold, 1 break a rule as told below**, 1 to be looked at." in text
    assert f"`{KNOWN_PLACE}` breaks the rule that cancellation reaches an end. `except ActivityError`" in text
    assert "1 It goes on" in text
    assert "decisions" not in text
    assert "* trio_async/workflows.py: needs trio" in text
    assert all(folder in text for folder in LEFT_OUT_OF_THE_KIT)
    path.write_text("no place")
    with pytest.raises(ValueError, match="no place for results"):
        page.write(explored(), "0" * 40, path)


def test_files_with_workflows_are_found_but_for_tests(tmp_path: Path) -> None:
    defines = "from temporalio import workflow\n\n@workflow.defn\nclass One: ...\n"
    for name in ("hello/one.py", "tests/hello/one.py", ".venv/one.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(defines)
    (tmp_path / "hello" / "starter.py").write_text("import temporalio\n")
    assert list(files(tmp_path)) == ["hello/one.py"]


def test_the_page_of_the_kit_has_a_place() -> None:
    text = page.PAGE.read_text()
    assert page.BEGIN in text
    assert page.END in text
