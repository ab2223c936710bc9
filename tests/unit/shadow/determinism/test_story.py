"""A failure as text and as pictures."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from dbos_shadow.determinism import FAULTS, DeterminismError, Kind, Rule
from dbos_shadow.determinism.picture import svg
from dbos_shadow.determinism.story import clock, faults, lines, sentence, story
from dbos_shadow.determinism.timeline import OTHERS, layout, timeline
from tests.unit.shadow.determinism.stories import BROKEN, HAPPENINGS, failure, happening

STORY = """\
Order breaks the rule that the invariants of the test hold.

    1       0.000 s   Somebody starts Order
    2       0.000 s   Order asks for charge and reserve
 ⚡  3       0.000 s   Activity charge fails: CardRefused
    4       1.000 s   Activity charge starts, attempt 2
    5       1.000 s   Activity charge completes, attempt 2
    6       1.000 s   Order asks for ship
    7       1.000 s   Signal approve arrives
 ⚡  8       1.000 s   Worker 1 dies, and another takes over
    9      11.001 s   Activity ship starts
   10      11.001 s   Update change arrives
   11      11.001 s   Update change is answered
   12  1 d 01:01:01.001   Somebody requests cancellation
   13  1 d 01:01:01.001   Order is canceled
 ✗ 14  1 d 01:01:01.001   Broken: charged_is_shipped does not hold: one charge, and <neither> a shipment nor a refund

2 faults, 2 steps. decisions=[0, 0, 3, 0, 0, 12]
"""


def words(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_story() -> None:
    assert words(story(failure(), width=130)) == words(STORY)


def test_a_narrow_story_keeps_its_columns() -> None:
    told = story(failure(), width=60).splitlines()
    assert max(map(len, told)) <= 60
    continued = told[told.index(next(line for line in told if "Broken:" in line)) + 1]
    assert continued.startswith(" " * 20)


def test_a_story_without_happenings() -> None:
    error = DeterminismError(Rule.HISTORY, "It was refused.", workflow="Order", decisions=[])
    assert "It was refused." in story(error)
    assert timeline((), "Order")
    assert svg(error)


def test_every_kind_of_happening_has_a_sentence() -> None:
    for kind in Kind:
        told = sentence(happening(kind, name="thing", text="words"))
        assert told
        assert "{" not in told
        assert not told.endswith(".")


def test_faults_are_marked() -> None:
    assert faults(HAPPENINGS) == 2
    assert [line.mark for line in lines(HAPPENINGS) if line.mark] == ["⚡", "⚡", "✗"]
    assert Kind.CRASH in FAULTS


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0.000 s"),
        (59_999, "59.999 s"),
        (60_000, "1:00"),
        (3_599_500, "59:59.500"),
        (3_600_000, "1:00:00"),
        (86_400_000, "1 d 00:00:00"),
        (-5_000, "-5.000 s"),
    ],
)
def test_times(ms: int, text: str) -> None:
    assert clock(ms) == text


def test_what_asks_comes_before_what_is_asked_for() -> None:
    told = [line.happening for line in lines(HAPPENINGS)]
    assert told[1].kind is Kind.STEP
    rows = [row.happening.kind for row in layout(HAPPENINGS, "Order").rows]
    assert rows[1:4] == [Kind.STEP, Kind.ACTIVITY_STARTED, Kind.ACTIVITY_STARTED]


TIMELINE = """\
             callers    Order     charge    reserve    ship
    0.000 s  start ─────▶
                        ●
                        ├─────────▶┐
                        ├──────────┼────────▶┐
 ⚡                      ◀──────────✗         │
    1.000 s             ┊                    │
                        ├─────────▶┐ 2       │
                        ◀──────────✓         │
                        ●                    │
                        ├────────────────────┼─────────▶┐
             approve ───▶                    │          │
 ⚡                      ╳ crash              ╳          ╳
   11.001 s             ├──────────────────────────────▶┐
             change ────▶                               │
             ✓ change ◀─┤                               │
"""


def test_the_timeline() -> None:
    assert timeline(HAPPENINGS[:15], "Order") == TIMELINE


def test_many_activities_share_the_last_column() -> None:
    many = [happening(Kind.ACTIVITY_STARTED, name=f"activity-{n}", attempt=1) for n in range(9)]
    picture = layout(many, "Order")
    assert picture.activities[-1] == OTHERS
    assert picture.lane("activity-8") == OTHERS
    assert picture.rows[-1].running == frozenset(picture.activities)


def test_the_picture_is_svg_for_light_and_dark() -> None:
    drawn = svg(failure())
    root = ElementTree.fromstring(drawn)
    texts = "".join(root.itertext())
    assert "prefers-color-scheme: dark" in texts
    assert "<neither>" in texts.replace("\n", "")  # escaped in the source, and whole again
    assert "<script" not in drawn
    assert all(name in texts for name in ("callers", "charge", "reserve", "ship", "worker 2"))
    rows = [e for e in root.iter() if e.get("class") in ("faultrow", "brokenrow")]
    assert len(rows) == 3
    assert BROKEN.split(":")[0] in texts
