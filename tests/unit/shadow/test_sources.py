"""Both sources, on runs of our own engine in memory: what the journal holds and what the history says are one trace."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowHistory, WorkflowUpdateFailedError

from dbos_compat.engine import Engine
from dbos_compat.private import EngineServiceClient
from dbos_shadow.diff import diff
from dbos_shadow.sources import history, journal
from dbos_shadow.trace import ArrivalKind, Opaque, Plain, Status, StepKind, Trace
from tests.unit.shadow.engine import engine
from tests.unit.shadow.programs import (
    ACTIVITIES,
    WORKFLOWS,
    Again,
    Cancelled,
    Fails,
    Listens,
    Locally,
    Parent,
    Steps,
)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with engine(WORKFLOWS, ACTIVITIES) as client:
        yield client


async def both(client: Client, workflow_id: str, run_id: str | None = None) -> tuple[Trace, Trace]:
    """The run's trace by its history and by its journal."""
    service = client.service_client
    assert isinstance(service, EngineServiceClient)
    assert isinstance(service.engine, Engine)
    kernel = service.engine.kernel
    run = await kernel.find(workflow_id, run_id)
    assert run is not None
    (loaded,) = await kernel.store.load([run.workflow_uuid])
    events = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    return history.trace(events), journal.trace(loaded)


def same(traces: tuple[Trace, Trace]) -> Trace:
    by_history, by_journal = traces
    assert by_history == by_journal
    assert (by_history.workflow_id, by_history.run_id) == (by_journal.workflow_id, by_journal.run_id)
    assert [arrival.attempt for arrival in by_history.arrivals] == [arrival.attempt for arrival in by_journal.arrivals]
    assert [a.last_failure for a in by_history.arrivals] == [a.last_failure for a in by_journal.arrivals]
    assert diff(by_history, by_journal).clean
    unchecked = [gap.path.partition(": ")[2] for gap in diff(by_history, by_journal).unchecked]
    continued = [step for step in by_history.steps if step.kind is StepKind.CONTINUE_AS_NEW]
    assert unchecked == ["options.retry_policy"] * len(continued)
    return by_history


async def test_steps(client: Client) -> None:
    await client.execute_workflow(Steps.run, 5, id="steps", task_queue="q")
    found = same(await both(client, "steps"))
    assert [step.label for step in found.steps] == [
        "activity add",
        "activity add",
        "activity add",
        "activity second_time_lucky",
        "activity refuse",
        "patch newer",
        "timer",
        "upsert_memo",
        "upsert_search_attributes",
    ]
    assert [step.inputs for step in found.steps[:3]] == [(Plain.of(5), Plain.of(n)) for n in range(3)]
    assert found.steps[4].id == "chosen"
    assert found.steps[6].duration_ms == 1
    assert [name for name, _ in found.steps[7].named] == ["memo.sum"]
    assert dict(found.steps[3].options or ())["retry_maximum_attempts"] == 5
    lucky, refused = found.arrivals[3:5]
    assert (lucky.attempt, lucky.values) == (2, (Opaque("binary/plain", b"\x00\xff"),))
    assert lucky.last_failure is not None
    assert lucky.last_failure.message == "not yet"
    assert refused.failure is not None
    assert (refused.how, refused.failure.type, refused.failure.details) == (
        "failed",
        "Refused",
        (Plain.of({"reason": "no"}),),
    )
    assert found.outcome.status is Status.COMPLETED
    assert found.outcome.values == (Plain.of({"raw": [0, 255], "sums": [5, 6, 7]}),)


async def test_messages(client: Client) -> None:
    handle = await client.start_workflow(Listens.run, id="listens", task_queue="q")
    await handle.signal(Listens.hear, "one")
    assert await handle.execute_update(Listens.ask, "two") == 2
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Listens.ask, "bad")
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Listens.ask, "")
    await handle.signal(Listens.hear, "stop")
    assert await handle.result() == ["one", "two", "bad", "stop"]
    found = same(await both(client, "listens"))
    messages = [
        (a.label, *[value.text for value in a.values if isinstance(value, Plain)])
        for a in found.arrivals
        if a.is_message
    ]
    assert messages == [
        ("signal hear", '"one"'),
        ("update ask", '"two"'),
        ("update ask", '"bad"'),
        ("signal hear", '"stop"'),
    ]
    answers = [step for step in found.steps if step.kind is StepKind.UPDATE_COMPLETED]
    assert answers[0].inputs == (Plain.of(2),)
    assert answers[1].failure is not None
    assert answers[1].failure.type == "Bad"
    assert found.steps[-1].kind is StepKind.CANCEL_TIMER
    assert found.steps[found.steps[-1].target or 0].kind is StepKind.TIMER


async def test_others(client: Client) -> None:
    await client.execute_workflow(Parent.run, id="parent", task_queue="q")
    found = same(await both(client, "parent"))
    assert [step.label for step in found.steps] == [
        "child Steps",
        "child Fails",
        "child Listens",
        "signal_external hear",
        "signal_external hear",
    ]
    ends = [(a.name, a.how) for a in found.arrivals if a.kind is ArrivalKind.CHILD]
    assert ends == [("Steps", "completed"), ("Fails", "failed"), ("Listens", "completed")]
    assert [a.how for a in found.arrivals if a.kind is ArrivalKind.EXTERNAL_SIGNALED] == ["completed", "failed"]
    same(await both(client, "parent-fails"))


async def failing(handle: WorkflowHandle[Any, Any]) -> None:
    with pytest.raises(WorkflowFailureError):
        await handle.result()


async def cancelled(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.cancel()
    await failing(handle)


async def terminated(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.terminate("enough", reason="because")
    await failing(handle)


@pytest.mark.parametrize(
    ("run", "end", "status"),
    [
        (Fails.run, failing, Status.FAILED),
        (Cancelled.run, cancelled, Status.CANCELED),
        (Listens.run, terminated, Status.TERMINATED),
    ],
)
async def test_ends(
    client: Client, run: Any, end: Callable[[WorkflowHandle[Any, Any]], Awaitable[None]], status: Status
) -> None:
    await end(await client.start_workflow(run, id="ends", task_queue="q"))
    assert same(await both(client, "ends")).outcome.status is status


async def test_an_open_run_is_a_whole_trace(client: Client) -> None:
    handle = await client.start_workflow(Listens.run, id="open", task_queue="q")
    await handle.execute_update(Listens.ask, "one")
    found = same(await both(client, "open"))
    assert found.outcome.status is Status.RUNNING
    assert found.incomplete is None
    await handle.terminate()


async def test_what_a_run_hands_on_is_its_last_step(client: Client) -> None:
    first = await client.start_workflow(Again.run, 1, id="again", task_queue="q")
    await first.result()
    found = same(await both(client, "again", first.first_execution_run_id))
    assert found.outcome.status is Status.CONTINUED_AS_NEW
    assert found.steps[-1].label == "continue_as_new Again"
    assert found.steps[-1].inputs == (Plain.of(0),)
    assert dict(found.steps[-1].options or ())["task_timeout_ms"] == 7_000
    same(await both(client, "again"))


async def test_the_journal_knows_more_of_local_activities_and_says_nothing_else(client: Client) -> None:
    await client.execute_workflow(Locally.run, id="locally", task_queue="q")
    by_history, by_journal = await both(client, "locally")
    comparison = diff(by_history, by_journal)
    assert comparison.clean
    assert {(entry.reason, entry.path) for entry in comparison.unchecked} == {
        ("not_recorded", f"local_activity {name}: {part}")
        for name in ("add", "refuse")
        for part in ("inputs", "options")
    }
    assert by_journal.steps[0].inputs == (Plain.of(1), Plain.of(2))
    assert by_history.arrivals == by_journal.arrivals
    assert [arrival.how for arrival in by_history.arrivals] == ["completed", "failed"]


async def test_two_runs_of_one_workflow_are_told_apart_by_what_they_do(client: Client) -> None:
    for number in (1, 2):
        await client.execute_workflow(Steps.run, number, id=f"steps-{number}", task_queue="q")
    one, other = [(await both(client, f"steps-{number}"))[0] for number in (1, 2)]
    paths = [difference.path for difference in diff(one, other).differences]
    assert paths[0] == "start: inputs[0]"
    assert paths[-1] == "outcome: values[0].sums[2]"


# -- histories that are not whole ------------------------------------------------------------------------------------------


@pytest.fixture
async def whole(client: Client) -> WorkflowHistory:
    await client.execute_workflow(Steps.run, 5, id="steps", task_queue="q")
    return await client.get_workflow_handle("steps").fetch_history()


def test_exported_json_is_the_same_trace(whole: WorkflowHistory) -> None:
    exported = history.from_json(whole.to_json(), workflow_id="steps")
    assert exported == history.trace(whole)
    assert exported.workflow_id == "steps"


@pytest.mark.parametrize("text", ["", "{", '{"events": [{"eventId": "1", "eventType": "W', "[]", '"text"'])
def test_text_that_is_no_history_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"not JSON|not a workflow history"):
        history.from_json(text)


def test_a_history_that_was_cut_says_why_and_keeps_what_can_be_relied_on(whole: WorkflowHistory) -> None:
    full = history.trace(whole)
    events = list(whole.events)
    for length in range(1, len(events)):
        open_or_cut = history.trace(events[:length])
        assert open_or_cut.incomplete is None  # nobody can tell, unless the server is asked
        cut = history.trace(events[:length], closed=True)
        assert cut.incomplete is not None
        assert cut.incomplete.code == "cut_at_end"
        assert cut.outcome.status is Status.UNKNOWN
        assert cut.steps == full.steps[: len(cut.steps)]
        assert diff(full, cut).clean
    assert history.trace(events, closed=True).incomplete is None


def unknown(events: list[HistoryEvent]) -> list[HistoryEvent]:
    strange = HistoryEvent(event_id=len(events) + 1, event_type=9999)  # type: ignore[arg-type]
    return [*events, strange]


def dangling(events: list[HistoryEvent]) -> list[HistoryEvent]:
    stray = HistoryEvent(event_id=len(events) + 1)
    stray.timer_fired_event_attributes.started_event_id = 4
    return [*events, stray]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("empty", lambda events: []),
        ("no_start", lambda events: events[3:]),
        ("gap", lambda events: events[:6] + events[8:]),
        ("unknown_event", lambda events: unknown(events[:8])),
        ("dangling", lambda events: dangling(events[:8])),
    ],
)
def test_a_history_that_does_not_hang_together_is_incomplete(
    whole: WorkflowHistory, code: str, change: Callable[[list[HistoryEvent]], list[HistoryEvent]]
) -> None:
    found = history.trace(change(list(whole.events)))
    assert found.incomplete is not None
    assert found.incomplete.code == code
    assert found.incomplete.reason
    assert found.outcome.status is Status.UNKNOWN


def test_an_event_that_may_be_ignored_is(whole: WorkflowHistory) -> None:
    events = unknown(list(whole.events)[:-1])
    events[-1].worker_may_ignore = True
    assert history.trace(events).incomplete is None


def test_the_order_of_keys_is_kept_beside_the_value() -> None:
    read = Plain.read(b'{"b": 1, "a": [1.0, NaN]}', "json/plain")
    assert isinstance(read, Plain)
    assert read == Plain.read(b'{"a":[1.0,NaN],"b":1}', "json/protobuf")
    assert json.loads(read.raw).keys() == {"b": 0, "a": 0}.keys()
    assert list(json.loads(read.raw)) == ["b", "a"]
    assert Plain.read(b"{", "json/plain") == Opaque("json/plain", b"{")
