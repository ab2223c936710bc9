"""Answers to long polls, joined to one history."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.service import RPCError, RPCStatusCode

from dbos_shadow.mirror.chain import follow_ups
from dbos_shadow.mirror.following import Follower, HistoryGone, Tail, join
from dbos_shadow.mirror.notes import Note


def event(number: int, name: str) -> HistoryEvent:
    made = HistoryEvent(event_id=number)
    getattr(made, f"{name}_event_attributes").SetInParent()
    return made


def names(events: list[HistoryEvent]) -> list[tuple[int, str]]:
    return [(e.event_id, (e.WhichOneof("attributes") or "").removesuffix("_event_attributes")) for e in events]


BEGUN = [event(1, "workflow_execution_started"), event(2, "workflow_task_scheduled"), event(3, "workflow_task_started")]


def test_a_task_that_was_not_stored_yet_comes_again() -> None:
    events: list[HistoryEvent] = []
    join(events, BEGUN)
    join(events, [*BEGUN[1:], event(4, "workflow_task_completed")])
    assert names(events) == names([*BEGUN, event(4, "workflow_task_completed")])


def test_a_task_that_came_to_nothing_makes_room() -> None:
    events: list[HistoryEvent] = []
    join(events, BEGUN)
    join(events, [event(2, "workflow_execution_signaled"), event(3, "workflow_task_scheduled")])
    assert names(events) == [
        (1, "workflow_execution_started"),
        (2, "workflow_execution_signaled"),
        (3, "workflow_task_scheduled"),
    ]


def test_nothing_else_is_ever_taken_back() -> None:
    events: list[HistoryEvent] = []
    join(events, [*BEGUN, event(4, "timer_fired")])
    with pytest.raises(ValueError, match=r"event 4 \(timer_fired\) came twice"):
        join(events, [event(4, "timer_fired")])


def test_children_and_successors_are_followed() -> None:
    child = HistoryEvent(event_id=5)
    started = child.child_workflow_execution_started_event_attributes
    started.workflow_execution.workflow_id, started.workflow_execution.run_id = "child", "run-2"
    started.workflow_type.name, started.namespace = "Child", "default"
    elsewhere = HistoryEvent()
    elsewhere.CopyFrom(child)
    elsewhere.child_workflow_execution_started_event_attributes.namespace = "other"
    handed_on = HistoryEvent(event_id=6)
    handed_on.workflow_execution_continued_as_new_event_attributes.new_execution_run_id = "run-3"
    assert list(follow_ups([*BEGUN, child, elsewhere, handed_on, event(7, "timer_fired")], "parent", "default")) == [
        Note(workflow_id="child", run_id="run-2", workflow_type="Child"),
        Note(workflow_id="parent", run_id="run-3"),
    ]
    assert list(follow_ups([event(8, "workflow_execution_completed")], "parent", "default")) == []


class Server:
    """Answers requests for histories as a test says: an answer, or an error."""

    def __init__(self, *answers: GetWorkflowExecutionHistoryResponse | RPCStatusCode) -> None:
        self.namespace = "default"
        self.workflow_service = self
        self._answers = list(answers)
        self.asked: list[GetWorkflowExecutionHistoryRequest] = []

    async def get_workflow_execution_history(
        self, request: GetWorkflowExecutionHistoryRequest, **_: Any
    ) -> GetWorkflowExecutionHistoryResponse:
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, RPCStatusCode):
            raise RPCError("as the test says", answer, b"")
        return answer


def answer(token: bytes, *events: HistoryEvent) -> GetWorkflowExecutionHistoryResponse:
    made = GetWorkflowExecutionHistoryResponse(next_page_token=token)
    made.history.events.extend(events)
    return made


async def test_a_history_is_read_on_from_where_it_was_until_it_is_closed() -> None:
    end = event(4, "workflow_execution_terminated")
    server = Server(answer(b"1", *BEGUN), RPCStatusCode.DEADLINE_EXCEEDED, answer(b"1"), answer(b"", end))
    follower = Follower(cast(Any, server), at_once=1)
    tail = Tail(workflow_id="w", run_id="r")
    assert [await follower.more(tail) for _ in range(4)] == [True, False, False, True]
    assert tail.closed
    assert names(tail.events) == names([*BEGUN, end])
    assert [request.next_page_token for request in server.asked] == [b"", b"1", b"1", b"1"]
    assert all(request.wait_new_event for request in server.asked)


async def test_a_server_in_trouble_is_asked_again_and_one_without_the_run_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    trouble = [RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.UNAVAILABLE] * 5
    more = [*BEGUN, event(4, "workflow_task_completed"), event(5, "timer_started")]
    refusals = [RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT]
    server = Server(*trouble, answer(b"1", *more[:4]), *refusals, answer(b"2", *more), *refusals, *refusals)
    follower = Follower(cast(Any, server), at_once=1)
    tail = Tail(workflow_id="w", run_id="r")
    assert await follower.more(tail)
    assert len(pauses) == 10
    assert pauses[0] < 0.5 < max(pauses) <= 30
    assert await follower.more(tail)  # from the beginning, without what is known
    assert server.asked[-1].next_page_token == b""
    assert names(tail.events) == names(more)
    with pytest.raises(HistoryGone):
        await follower.more(tail)


async def test_a_history_without_an_end_is_looked_at_again_before_it_counts_as_cut() -> None:
    server = Server(answer(b"", *BEGUN[:1]), *[answer(b"", *BEGUN[:1])] * 3)
    follower = Follower(cast(Any, server), at_once=1)
    tail = Tail(workflow_id="w", run_id="r")
    while not tail.closed:
        await follower.more(tail)
    assert len(server.asked) == 4
    assert names(tail.events) == names(BEGUN[:1])
