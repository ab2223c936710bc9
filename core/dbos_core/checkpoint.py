"""Checkpoint: an activation and the decision it led to, as the one commit that makes both durable. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dbos_core.activities.spec import ActivityRow
from dbos_core.commit import Commit, JournalRow, Mail, NewRun, UpdateRow
from dbos_core.runner import Activation, Decision, Event, TaskFailure


def checkpoint(
    activation: Activation,
    decision: Decision,
    *,
    workflow_uuid: str,
    completed_ms: int,
    mail_seen_ms: int,
    activities: Sequence[ActivityRow],
    new: NewRun | None,
    admitted: Mapping[str, UpdateRow],
) -> Commit | None:
    """Everything that one step of one run changes in the database; None when it changes nothing.

    Args:
        mail_seen_ms: time of the newest mail that the run knows, this activation's included. With it the run closes only
            if no newer mail waits.
        activities: rows of the newly scheduled activities that need one.
        new: the run, if this is its first commit; the start is in it then.
        admitted: updates that came with the start, by id.
    """
    events = activation.events
    consumed = tuple(mail_ids(events))
    if decision.record is None and not consumed and not decision.updates and new is None:
        return None
    entry = None
    if decision.record is not None:
        entry = JournalRow(
            position=activation.position,
            name=decision.name,
            record=decision.record,
            started_ms=activation.at_ms,
            completed_ms=completed_ms,
        )
    close = decision.close
    if close is not None:
        close.mail_seen_ms = mail_seen_ms
    mail: tuple[Mail, ...] = ()
    if new is not None:
        mail = tuple([e.mail for e in events if e.mail is not None])
    return Commit(
        workflow_uuid=workflow_uuid,
        start=new,
        fenced=new is None,
        entry=entry,
        consumed=consumed,
        close=close,
        mail_seen_ms=mail_seen_ms,
        memo=decision.memo,
        search_attributes=decision.search_attributes,
        history_length=decision.history_length if close is not None else None,
        mail=mail,
        activities=tuple(activities),
        activities_done=tuple([e.outcome.seq for e in events if e.outcome is not None and e.outcome.has_row]),
        updates=tuple({**admitted, **{u.update_id: u for u in decision.updates}}.values()),
    )


def newest_mail(events: Iterable[Event], before_ms: int) -> int:
    """Time of the newest mail among these events and what came before them."""
    newest = before_ms
    for event in events:
        if event.mail is not None:
            newest = max(newest, event.mail.created_ms)
        elif event.outcome is not None:
            newest = max(newest, event.outcome.mail_ms)
    return newest


def mail_ids(events: Iterable[Event]) -> Iterable[str]:
    """Ids of the mail that these events came by."""
    for event in events:
        if event.mail is not None:
            yield event.mail.mail_id
        elif event.outcome is not None:
            yield from event.outcome.mail_ids


def raised(error: Exception) -> Decision:
    """What an exception of the runner itself amounts to: a failed task."""
    return Decision(record=None, name="", failure=failure_of(error))


def failure_of(error: Exception) -> TaskFailure:
    """An exception that is not the workflow's own, as the failure of its task."""
    return TaskFailure(f"{type(error).__name__}: {error}", "WORKFLOW_WORKER_UNHANDLED_FAILURE")
