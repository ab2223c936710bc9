"""Histories of journals written by hand: what a server does not produce on demand, and runs that are open."""

from __future__ import annotations

import json

from temporalio.api.history.v1 import HistoryEvent

from dbos_compat.convert.records import CloseRecord, message_text
from dbos_compat.history.events import events
from dbos_compat.history.numbering import ABANDON
from dbos_core.commit import RunStatus
from dbos_core.mailbox import ACTIVITY, CANCEL, UPDATE
from tests.unit.compat.history.journals import (
    START,
    START_MS,
    activity,
    journal,
    json_payload,
    mail,
    outcome,
    rung,
    signal,
    timer,
    update,
)
from tests.unit.compat.history.recorder import attributes, kind
from tests.unit.compat.history.replays import replay

TASK = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"]
DONE = CloseRecord(kind="completed", result=[json_payload("done")])


def kinds(history: list[HistoryEvent]) -> list[str]:
    """The types of the events, whose ids must count from 1 without a gap."""
    assert [event.event_id for event in history] == list(range(1, len(history) + 1))
    return [kind(event) for event in history]


async def test_signals_that_came_with_the_start_are_handled_first() -> None:
    run = journal(
        "Approval",
        ([START, signal("approve", "ann"), signal("approve", "bob", at_ms=START_MS + 7)], [{"k": "complete"}]),
        args=(10.0, 2),
        status=RunStatus.COMPLETED,
        close=CloseRecord(kind="completed", result=[json_payload(["ann", "bob"])]),
    )
    history = events(run)
    signaled = "WORKFLOW_EXECUTION_SIGNALED"
    assert kinds(history) == ["WORKFLOW_EXECUTION_STARTED", signaled, signaled, *TASK, "WORKFLOW_EXECUTION_COMPLETED"]
    assert history[2].event_time.ToMilliseconds() == START_MS + 7
    assert attributes(history[3]).task_queue.name == "queue"
    assert await replay("order-42", history) == [["ann", "bob"]]


async def test_signals_and_updates_in_one_task() -> None:
    run = journal(
        "Counter",
        ([START], []),
        (
            [signal("bump", 10), signal("finish"), update("u1", "add_now", 1), update("u2", "add_now", 2)],
            [
                {"k": "update_accepted", "id": "u1"},
                {"k": "update_completed", "id": "u1", "r": {"j": 11}},
                {"k": "update_accepted", "id": "u2"},
                {"k": "update_completed", "id": "u2", "r": {"j": 13}},
                {"k": "complete"},
            ],
        ),
        status=RunStatus.COMPLETED,
        close=CloseRecord(kind="completed", result=[json_payload(13)]),
    )
    history = events(run)
    accepted = [attributes(e) for e in history if kind(e) == "WORKFLOW_EXECUTION_UPDATE_ACCEPTED"]
    assert [a.accepted_request.input.name for a in accepted] == ["add_now", "add_now"]
    assert {a.accepted_request_sequencing_event_id for a in accepted} == {7}
    completed = [attributes(e) for e in history if kind(e) == "WORKFLOW_EXECUTION_UPDATE_COMPLETED"]
    assert [c.accepted_event_id for c in completed] == [10, 12]
    assert await replay("order-42", history) == [13]


async def test_an_update_after_a_task_that_asked_for_nothing() -> None:
    """No event stands between the two tasks: the order of the update must be told by its sequencing id."""
    run = journal(
        "Counter",
        ([START], []),
        ([signal("bump", 5)], []),
        (
            [update("u", "add_now", 1)],
            [{"k": "update_accepted", "id": "u"}, {"k": "update_completed", "id": "u", "r": {"j": 6}}],
        ),
        ([signal("finish")], [{"k": "complete"}]),
        status=RunStatus.COMPLETED,
        close=CloseRecord(kind="completed", result=[json_payload(6)]),
    )
    assert await replay("order-42", events(run)) == [6]


async def test_what_leaves_no_event_leaves_none() -> None:
    """An abandoned activity's cancellation, and a timer that rang when it was cancelled already."""
    run = journal(
        "Cancels",
        ([START], [activity(1, "beat_until_cancelled", ABANDON), timer(1, 1000)]),
        ([rung(1)], [{"k": "cancel_activity", "seq": 1}, activity(2)]),
        ([outcome(2, "completed", r={"j": 2})], [{"k": "complete"}]),
        args=("abandon", "running"),
        status=RunStatus.COMPLETED,
        close=DONE,
    )
    history = events(run)
    assert "ACTIVITY_TASK_CANCEL_REQUESTED" not in kinds(history)
    assert len(await replay("order-42", history)) == 1

    run = journal(
        "Approval",
        ([START], [timer(1, 100_000)]),
        ([signal("approve", "ann")], [{"k": "cancel_timer", "seq": 1}]),
        ([rung(1)], []),
        args=(100.0, 1),
    )
    assert "TIMER_FIRED" not in kinds(events(run))


async def test_the_outcome_of_an_activity_that_was_given_up_may_still_come() -> None:
    run = journal(
        "Cancels",
        ([START], [activity(1, "beat_until_cancelled"), timer(1, 1000)]),
        ([rung(1)], [{"k": "cancel_activity", "seq": 1}, activity(2)]),
        ([outcome(1, "canceled", r=[]), outcome(2, "completed", r={"j": 2})], [{"k": "complete"}]),
        args=("try", "running"),
        status=RunStatus.COMPLETED,
        close=DONE,
    )
    history = events(run)
    canceled = next(attributes(e) for e in history if kind(e) == "ACTIVITY_TASK_CANCELED")
    assert canceled.latest_cancel_requested_event_id == 11
    assert len(await replay("order-42", history)) == 1


async def test_an_open_run_shows_what_waits_for_it() -> None:
    run = journal(
        "Forever",
        ([START], [activity(1, "hang"), timer(1, 1_000_000)]),
        mail=(
            mail("note", message_text(args=[json_payload("hi")], identity="client", request_id="r1")),
            mail(UPDATE, message_text(name="x", update_id="u")),
            mail(ACTIVITY, "{}"),
            mail(CANCEL, message_text(reason="enough", identity="client")),
            mail("note", json.dumps({"from": "dbos"}), mail_id="0e0e"),
        ),
    )
    history = events(run)
    assert kinds(history)[6:] == [
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_EXECUTION_CANCEL_REQUESTED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_TASK_SCHEDULED",
    ]
    assert attributes(history[6]).request_id == "r1"
    assert attributes(history[7]).cause == "enough"
    assert attributes(history[8]).input.payloads[0].data == b'{"from":"dbos"}'
    await replay("order-42", history)


def test_an_open_run_at_rest_ends_with_its_journal() -> None:
    run = journal("Forever", ([START], [activity(1, "hang"), timer(1, 1_000_000)]))
    assert kinds(events(run)) == ["WORKFLOW_EXECUTION_STARTED", *TASK, "ACTIVITY_TASK_SCHEDULED", "TIMER_STARTED"]


async def test_a_run_before_its_first_task() -> None:
    begun = events(journal("Nothing"))
    assert kinds(begun) == ["WORKFLOW_EXECUTION_STARTED", "WORKFLOW_TASK_SCHEDULED"]
    delayed = events(journal("Nothing", delay_ms=5_000))
    assert kinds(delayed) == ["WORKFLOW_EXECUTION_STARTED"]
    ended = journal("Nothing", status=RunStatus.TERMINATED, close=CloseRecord(kind="terminated", reason="no"))
    history = events(ended)
    assert kinds(history) == ["WORKFLOW_EXECUTION_STARTED", "WORKFLOW_TASK_SCHEDULED", "WORKFLOW_EXECUTION_TERMINATED"]
    assert attributes(history[-1]).reason == "no"


async def test_a_run_that_was_terminated_with_a_signal_unheard() -> None:
    run = journal(
        "Forever",
        ([START], [activity(1, "hang"), timer(1, 1_000_000)]),
        status=RunStatus.TERMINATED,
        close=CloseRecord(kind="terminated", reason="enough", identity="operator"),
        mail=(mail("note", message_text(args=[json_payload("hi")])),),
    )
    history = events(run)
    assert kinds(history)[-3:] == [
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_EXECUTION_TERMINATED",
    ]
    assert await replay("order-42", history) == []


def test_logic_flags_are_told_once() -> None:
    run = journal("Nothing", ([START], []), ([signal("a")], []), ([signal("b")], []))
    for entry, flags in zip(run.entries, ([1], [1, 2], [2]), strict=True):
        entry.record = json.dumps({**json.loads(entry.record), "flags": flags})
    told = [attributes(e).sdk_metadata for e in events(run) if kind(e) == "WORKFLOW_TASK_COMPLETED"]
    assert [list(metadata.lang_used_flags) for metadata in told] == [[1], [2], []]
    assert [metadata.sdk_version for metadata in told] == ["1.35.0", "", ""]
