"""The command that runs the public samples: its plays, and the page that it writes. No sample is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.process import REPOSITORY
from tests.shadow.samples import document
from tests.shadow.samples.__main__ import Outcome
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
