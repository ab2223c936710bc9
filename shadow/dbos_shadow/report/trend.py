"""Two reports → what has changed. Pure.

A difference that was not met again is told as gone only where runs of its type were compared at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from dbos_shadow.report.figures import counted, percent
from dbos_shadow.report.model import Change, GroupReport, Report, Trend, TrendPoint, TypeReport
from dbos_shadow.report.rule import Decision

__all__ = ["trend_between", "with_trend"]

POINTS_MAX = 30
LESS, MORE = 0.8, 1.25
"""A share of runs has changed if it is so many times what it was."""


def with_trend(report: Report, earlier: Sequence[Report]) -> Report:
    """The report, with what has changed since the last of some earlier ones, the oldest of which comes first.

    The points that the oldest one carries are kept, so that it is enough to give the last report of a series.
    """
    if not earlier:
        return report
    points: list[TrendPoint] = list(earlier[0].trend.points[:-1]) if earlier[0].trend else []
    points += [_point(found) for found in [*earlier, report]]
    return report.model_copy(
        update={"trend": trend_between(earlier[-1], report).model_copy(update={"points": tuple(points[-POINTS_MAX:])})}
    )


def trend_between(previous: Report, current: Report) -> Trend:
    """What has changed from one report to the next. Worse comes first."""
    changes = [*_decisions(previous, current), *_groups(previous, current)]
    changes.sort(
        key=lambda change: (not change.worse, _ORDER.index(change.what), change.workflow_type, change.fingerprint)
    )
    before, now = previous.campaign.config_hash, current.campaign.config_hash
    return Trend(comparable=before == now, points=(_point(previous), _point(current)), changes=tuple(changes))


_What = Literal["decision", "new_type", "gone_type", "new_group", "gone_group", "more_runs", "fewer_runs"]
_ORDER: tuple[_What, ...] = (
    "decision", "new_group", "more_runs", "new_type", "gone_type", "fewer_runs", "gone_group"
)  # fmt: skip
_RANK = {Decision.GO: 0, Decision.CANNOT_TELL: 1, Decision.NO_GO: 2}


def _point(report: Report) -> TrendPoint:
    campaign = report.campaign
    return TrendPoint(
        label=campaign.label or campaign.made_at or campaign.window.end,
        decision=report.decision,
        counts=report.counts,
        groups=len(report.groups) + report.groups_left_out,
    )


def _decisions(previous: Report, current: Report) -> Iterator[Change]:
    before = {found.workflow_type: found for found in previous.types}
    now = {found.workflow_type: found for found in current.types}
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old is None and new is not None:
            worse = new.decision is not Decision.GO
            yield _change(
                "new_type", name, "", new.decision.label, worse, f"{name} is new: {new.decision.label}, {new.why}"
            )
        elif old is not None and new is None:
            yield _change("gone_type", name, old.decision.label, "", True, f"{name} is no longer looked at")
        elif old is not None and new is not None and old.decision is not new.decision:
            worse = _RANK[new.decision] > _RANK[old.decision]
            text = f"{name}: {old.decision.label} became {new.decision.label}, {new.why}"
            yield _change("decision", name, old.decision.label, new.decision.label, worse, text)


def _groups(previous: Report, current: Report) -> Iterator[Change]:
    before = {found.fingerprint: found for found in previous.groups}
    now = {found.fingerprint: found for found in current.groups}
    types_before = {found.workflow_type: found for found in previous.types}
    types_now = {found.workflow_type: found for found in current.types}
    for fingerprint in sorted(before.keys() | now.keys()):
        old, new = before.get(fingerprint), now.get(fingerprint)
        group = new or old
        assert group is not None
        told = f"{group.workflow_type}: {group.title}"
        was = _share(old, types_before.get(group.workflow_type))
        share = _share(new, types_now.get(group.workflow_type))
        if old is None and new is not None:
            if not previous.groups_left_out:  # else it may have been among those
                text = f"New, in {counted(new.runs, 'run')}: {told}"
                yield _change("new_group", group.workflow_type, "", str(new.runs), True, text, fingerprint)
        elif new is None and old is not None:
            of = types_now.get(group.workflow_type)
            if of is not None and of.counts.compared and not current.groups_left_out:
                text = f"Not met again in {counted(of.counts.compared, 'run')}: {told}"
                yield _change("gone_group", group.workflow_type, str(old.runs), "0", False, text, fingerprint)
        elif share >= was * MORE:
            text = f"More often, {percent(was)} before and {percent(share)} now: {told}"
            yield _change("more_runs", group.workflow_type, percent(was), percent(share), True, text, fingerprint)
        elif share <= was * LESS:
            text = f"Less often, {percent(was)} before and {percent(share)} now: {told}"
            yield _change("fewer_runs", group.workflow_type, percent(was), percent(share), False, text, fingerprint)


def _share(group: GroupReport | None, of: TypeReport | None) -> float:
    return group.runs / of.counts.compared if group and of and of.counts.compared else 0.0


def _change(
    what: _What, workflow_type: str, before: str, now: str, worse: bool, text: str, fingerprint: str = ""
) -> Change:
    return Change(
        what=what,
        workflow_type=workflow_type,
        fingerprint=fingerprint,
        before=before,
        now=now,
        worse=worse,
        text=text,
    )
