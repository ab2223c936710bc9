"""Accepted differences: reviewed, owned, and not for ever. And the groups of those that are not accepted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from dbos_shadow.allow import Allowances, AllowancesUnreadable, read
from dbos_shadow.diff import diff
from dbos_shadow.groups import grouped
from dbos_shadow.trace import Outcome, Status
from tests.unit.shadow.traces import CHECKOUT, activity, plain, timer, trace, with_step

DUE = date(2027, 3, 31)
CENTS = with_step(CHECKOUT, 3, inputs=plain({"cents": 999}, "card"))
FINGERPRINT = diff(CHECKOUT, CENTS).differences[0].fingerprint


def text(**fields: str) -> str:
    given = {
        "fingerprint": f'"{FINGERPRINT}"',
        "reason": '"rounded"',
        "owner": '"ada"',
        "expires": "2027-03-31",
        **fields,
    }
    return "\n".join(["[[accepted]]", *[f"{name} = {value}" for name, value in given.items() if value]])


def test_what_is_accepted_is_told_apart_from_what_matches() -> None:
    comparison = diff(CHECKOUT, CENTS, read(text(), today=DUE))
    assert not comparison.differences
    assert not comparison.clean
    ((difference, entry),) = comparison.accepted
    assert (difference.fingerprint, entry.reason, entry.owner) == (FINGERPRINT, "rounded", "ada")


def test_an_expired_entry_accepts_nothing_and_is_named() -> None:
    allowances = read(text(), today=date(2027, 4, 1))
    comparison = diff(CHECKOUT, CENTS, allowances)
    assert len(comparison.differences) == 1
    assert comparison.expired == allowances.expired == allowances.accepted


def test_an_entry_covers_one_fingerprint_only() -> None:
    both = with_step(CENTS, 2, duration_ms=1)
    comparison = diff(CHECKOUT, both, read(text(), today=DUE))
    assert [difference.path for difference in comparison.differences] == ["timer: duration_ms"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("accepted = 1", "entries only"),
        ("[[allowed]]", "allowed"),
        ("[[", "not TOML"),
        (text(owner=""), "needs owner"),
        (text(reason='" "'), "needs reason"),
        (text(expires='"2027-03-31"'), "without quotes"),
        (text(expires=""), "needs expires"),
        (text(until="2027-03-31"), "until"),
        (text() + "\n" + text(), "twice"),
    ],
)
def test_a_file_that_is_not_right_says_what_to_write(document: str, says: str) -> None:
    with pytest.raises(AllowancesUnreadable, match=says):
        read(document, today=DUE)


def test_no_file_accepts_nothing() -> None:
    assert read("", today=DUE).accepted == Allowances().accepted == ()


def test_a_group_has_every_run_and_shows_the_smallest() -> None:
    def run(length: int, cents: int) -> tuple[str, str, object]:
        steps = [timer(1) for _ in range(length)]
        return (
            f"order-{length}",
            "run",
            diff(trace([*steps, activity("charge", 1)]), trace([*steps, activity("charge", cents)])),
        )

    failed = diff(CHECKOUT, replace(CHECKOUT, outcome=Outcome(status=Status.FAILED)))
    runs = [run(3, 7), run(1, 8), run(2, 9), ("order-x", "run", failed)]
    groups = grouped(runs)  # type: ignore[arg-type]
    assert [(group.runs, group.difference.path) for group in groups] == [
        (1, "outcome: status"),
        (3, "activity charge: inputs[0]"),
    ]
    assert (groups[1].exemplar.workflow_id, groups[1].exemplar.steps, groups[1].difference.actual) == (
        "order-1",
        2,
        "8",
    )
    assert grouped(reversed(runs)) == groups  # type: ignore[arg-type]
