"""What has changed since the last report."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from dbos_shadow.report import (
    Campaign,
    Report,
    ReportBuilder,
    from_json,
    render_html,
    render_markdown,
    to_json,
    trend_between,
    with_trend,
)
from dbos_shadow.verdict import Judgement
from tests.unit.shadow.judgements import config, judged, no_quote, other_charge, run, same_runs


def built(judgements: Iterable[Judgement], label: str, config_hash: str = "one") -> Report:
    builder = ReportBuilder(config(campaign=Campaign(label=label, config_hash=config_hash)))
    for judgement in judgements:
        builder.add(judgement)
    return builder.finish()


def checkouts(same: int, **different: int) -> list[Judgement]:
    """So many runs that are the same, and so many with each change."""
    changes = {"no_quote": no_quote, "other_charge": other_charge}
    found = list(same_runs(same, types=("Checkout",)))
    for name, count in different.items():
        for number in range(1, count + 1):
            of = run("Checkout", number * 7, Random(number))
            found.append(judged(of, changes[name](of)))
    return found


def test_nothing_has_changed() -> None:
    one, two = built(checkouts(40, no_quote=4), "mon"), built(checkouts(40, no_quote=4), "tue")
    found = trend_between(one, two)
    assert found.comparable
    assert found.changes == ()
    assert [(point.label, point.groups) for point in found.points] == [("mon", 1), ("tue", 1)]


def test_new_gone_and_more_often() -> None:
    clean, bad = built(checkouts(40), "mon"), built(checkouts(40, no_quote=4), "tue")
    worse = trend_between(clean, bad).changes
    assert [(change.what, change.worse) for change in worse] == [("decision", True), ("new_group", True)]
    assert worse[0].text == "Checkout: GO became NO-GO, 4 of 44 runs differ"
    assert worse[1].text == "New, in 4 runs: Checkout: activity quote is not asked for"
    better = trend_between(bad, clean).changes
    assert [(change.what, change.worse) for change in better] == [("decision", False), ("gone_group", False)]
    assert better[1].text.startswith("Not met again in 40 runs")
    often = trend_between(bad, built(checkouts(40, no_quote=20), "wed")).changes
    assert [(change.what, change.before, change.now) for change in often] == [("more_runs", "9.1 %", "33 %")]


def test_types_come_and_go() -> None:
    one = built(same_runs(40, types=("Checkout", "Refund")), "mon")
    two = built(same_runs(40, types=("Checkout", "Billing")), "tue")
    assert [(change.what, change.workflow_type, change.worse) for change in trend_between(one, two).changes] == [
        ("gone_type", "Refund", True),
        ("new_type", "Billing", False),
    ]


def test_a_difference_is_not_gone_where_nobody_looked() -> None:
    bad = built(checkouts(40, no_quote=4), "mon")
    nobody = built(same_runs(40, types=("Refund",)), "tue")
    assert "gone_group" not in {change.what for change in trend_between(bad, nobody).changes}


def test_another_configuration_is_said() -> None:
    assert not trend_between(built(checkouts(40), "mon"), built(checkouts(40), "tue", "two")).comparable


def test_a_series_goes_on_from_the_last_report() -> None:
    first = built(checkouts(40), "mon")
    second = with_trend(built(checkouts(40, no_quote=4), "tue"), [first])
    third = with_trend(built(checkouts(40, no_quote=4, other_charge=2), "wed"), [from_json(to_json(second))])
    assert third.trend is not None
    assert [point.label for point in third.trend.points] == ["mon", "tue", "wed"]
    at_once = with_trend(built(checkouts(40, no_quote=4, other_charge=2), "wed"), [first, second])
    assert at_once.trend == third.trend
    assert with_trend(first, []) == first
    for text in (render_html(third), render_markdown(third)):
        assert "New, in 2 runs" in text
