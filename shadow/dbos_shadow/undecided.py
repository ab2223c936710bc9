"""Undecided: what is said of a run that was not compared, in whatever way it should have been."""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from dbos_compat.workbench import Workbench
from dbos_shadow.reading.files import Unreadable
from dbos_shadow.recorded import Recorded
from dbos_shadow.select import features_of
from dbos_shadow.trace import Trace
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way

NO_TASK = "No workflow task was completed, so no code of the workflow has run. There is nothing to compare."

__all__ = ["NO_TASK", "no_code_has_run", "not_comparable", "undecided", "unreadable"]


def no_code_has_run(events: Iterable[HistoryEvent]) -> bool:
    """Was no workflow task of the run completed?"""
    return all(event.event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for event in events)


def undecided(
    recorded: Recorded,
    reason: Reason,
    note: str,
    *,
    subject: str,
    verdict: Verdict = Verdict.INCONCLUSIVE,
    way: Way = Way.REPLAY,
    expected: Trace | None = None,
) -> Judgement:
    """A judgement without a comparison.

    Args:
        note: for people; it may quote.
        subject: what the reason is about: an identifier, never a value.
        expected: the recorded trace, as far as it was read.
    """
    return Judgement(
        workflow_type=recorded.workflow_type,
        workflow_id=recorded.workflow_id,
        run_id=recorded.run_id,
        verdict=verdict,
        way=way,
        reason=reason,
        note=note,
        subject=subject,
        expected=expected,
        features=features_of(expected) if expected is not None else frozenset(),
        events=len(recorded.events),
    )


def not_comparable(
    recorded: Recorded, expected: Trace, bench: Workbench, *, way: Way, workflow_type: str
) -> Judgement | None:
    """What is said of a run that nobody need try; None: it can be compared.

    Args:
        expected: the recorded trace.
        workflow_type: what the workflow is called in the code of the bench.
    """
    gap = expected.incomplete
    if gap is not None:
        return undecided(recorded, Reason.TRUNCATED, gap.reason, subject=gap.code, way=way, expected=expected)
    if not bench.knows(workflow_type):
        return undecided(
            recorded,
            Reason.UNKNOWN_TYPE,
            f"No workflow of type {workflow_type!r} was given.",
            subject=workflow_type,
            verdict=Verdict.NOT_RUN,
            way=way,
            expected=expected,
        )
    if no_code_has_run(recorded.events):
        return undecided(
            recorded, Reason.NO_TASK, NO_TASK, subject="no_task", verdict=Verdict.NOT_RUN, way=way, expected=expected
        )
    return None


def unreadable(found: Unreadable) -> Judgement:
    """What is said of something that should have been a history."""
    return Judgement(
        workflow_type="",
        workflow_id=found.workflow_id,
        run_id=found.source,
        verdict=Verdict.INCONCLUSIVE,
        reason=Reason.TRUNCATED,
        subject="unreadable",
        note=found.note,
    )
