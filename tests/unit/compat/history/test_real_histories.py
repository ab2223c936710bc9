"""The synthesis against Temporal itself: program by program, the history that a server wrote and the one that we write.

Each program runs on a development server. Its real history is turned into the journal that our engine would have
written (``recorder``), and that back into a history, which must be the same, and which Temporal must accept.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.enums.v1 import EventType, IndexedValueType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.workflow import NondeterminismError

from dbos_compat.history.closing import close_event
from dbos_compat.history.events import events
from dbos_compat.history.numbering import EventIds
from dbos_compat.workbench import Workbench
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.verdict import Verdict
from tests.unit.compat.history.program_workflows import ACTIVITIES, INT, KEYWORD, WORKFLOWS
from tests.unit.compat.history.programs import PROGRAMS, Place
from tests.unit.compat.history.recorder import CLOSES, attributes, canonical, kind, record
from tests.unit.compat.history.replays import replay

pytestmark = pytest.mark.temporal

PROGRAM_WITHIN_S = 40
TRIES = 5
GIVEN_UP = (EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED, EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)


@dataclass
class Real:
    """One program's history, as the server has it."""

    workflow_id: str
    run_id: str
    events: list[HistoryEvent]


async def _run_all(address: str) -> dict[str, Real | BaseException]:
    client = await Client.connect(address)
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=client.namespace,
            search_attributes={
                INT.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
                KEYWORD.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
            },
        )
    )
    place = Place(client, "history-programs")

    async def run(name: str) -> Real:
        """Once more, if a task had to be done twice: an event came while it was being completed, which no program means."""
        for _ in range(TRIES):
            async with asyncio.timeout(PROGRAM_WITHIN_S):
                handle = await PROGRAMS[name](place)
                history = await handle.fetch_history()
                description = await handle.describe()
            if not any(event.event_type in GIVEN_UP for event in history.events):
                break
        return Real(handle.id, description.run_id, list(history.events))

    async with Worker(
        client,
        task_queue=place.task_queue,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        ended = await asyncio.gather(*map(run, PROGRAMS), return_exceptions=True)
    return dict(zip(PROGRAMS, ended, strict=True))


@pytest.fixture(scope="module")
def all_programs(temporal_address: str) -> dict[str, Real | BaseException]:
    return asyncio.run(_run_all(temporal_address))


@pytest.fixture(params=PROGRAMS)
def real(request: pytest.FixtureRequest, all_programs: dict[str, Real | BaseException]) -> Real:
    """The history of one program, in our order of events within a task."""
    found = all_programs[request.param]
    if isinstance(found, BaseException):
        raise found
    return Real(found.workflow_id, found.run_id, canonical(found.events))


def readable(event: HistoryEvent) -> dict[str, Any]:
    """An event without what only a server has: request ids, sizes, worker build ids, sticky queues, its finer clock."""
    fields = MessageToDict(event, preserving_proto_field_name=True)
    for name in ("task_id", "event_group_markers", "event_time"):
        fields.pop(name, None)
    inner = fields[event.WhichOneof("attributes") or ""]
    for name in (
        "history_size_bytes",
        "metering_metadata",
        "suggest_continue_as_new",
        "suggest_continue_as_new_reasons",
        "use_workflow_build_id",
        "worker_version",
    ):
        inner.pop(name, None)
    match kind(event):
        case "WORKFLOW_TASK_STARTED" | "ACTIVITY_TASK_STARTED":
            inner.pop("request_id", None)
        case "WORKFLOW_TASK_COMPLETED":
            inner["sdk_metadata"].pop("core_used_flags", None)
        case "WORKFLOW_TASK_SCHEDULED":
            inner["task_queue"] = inner["task_queue"].get("normal_name") or inner["task_queue"]["name"]
    return fields


# Everything but when a task was scheduled and completed, and when what it asked for was written.
TIMED = (
    "WORKFLOW_EXECUTION_STARTED",
    "WORKFLOW_EXECUTION_SIGNALED",
    "WORKFLOW_EXECUTION_CANCEL_REQUESTED",
    "WORKFLOW_TASK_STARTED",
    "ACTIVITY_TASK_STARTED",
    *CLOSES,
)


def times(history: list[HistoryEvent]) -> list[int]:
    """The times that a journal keeps to the millisecond."""
    return [event.event_time.ToMilliseconds() for event in history if kind(event) in TIMED]


def test_same_events(real: Real) -> None:
    ours = events(record(real.workflow_id, real.run_id, real.events))
    assert [(event.event_id, kind(event)) for event in ours] == [(e.event_id, kind(e)) for e in real.events]
    assert [readable(event) for event in ours] == [readable(event) for event in real.events]
    assert times(ours) == times(real.events)


async def test_temporal_accepts_our_history_and_sees_the_same_end(real: Real) -> None:
    loaded = record(real.workflow_id, real.run_id, real.events)
    results = await replay(real.workflow_id, events(loaded))
    last = real.events[-1]
    if kind(last) == "WORKFLOW_EXECUTION_COMPLETED":
        recorded = await DataConverter.default.decode(attributes(last).result.payloads)
        assert results == recorded
    else:
        assert results == []


def test_the_closing_event_alone_is_the_last_of_the_history(real: Real) -> None:
    loaded = record(real.workflow_id, real.run_id, real.events)
    history = events(loaded)
    if loaded.run.close is None:
        with pytest.raises(ValueError, match="is open"):
            close_event(loaded.run)
        return
    loaded.run.history_length = len(history)
    alone = close_event(loaded.run)
    expected = HistoryEvent()
    expected.CopyFrom(history[-1])
    for event in (alone, expected):  # without the journal nobody knows which event the task's completion was
        if "workflow_task_completed_event_id" in attributes(event).DESCRIPTOR.fields_by_name:
            attributes(event).workflow_task_completed_event_id = 0
    assert alone == expected


def test_history_length_is_the_id_of_the_task_started(real: Real) -> None:
    """What a live run counts is what stands in the history."""
    ids = EventIds()
    lengths = []
    for entry in record(real.workflow_id, real.run_id, real.events).entries:
        written = json.loads(entry.record)
        task = ids.begin_task(written["ev"])
        lengths.append(task.started)
        ids.end_task(task, written["cmds"])
    completed = [
        attributes(event).started_event_id for event in real.events if kind(event) == "WORKFLOW_TASK_COMPLETED"
    ]
    assert lengths == completed


@pytest.mark.parametrize("name", PROGRAMS)
async def test_the_core_does_the_same(name: str, all_programs: dict[str, Real | BaseException]) -> None:
    """The code is fed what the server has recorded, as it was recorded, and asks for the same with the same inputs."""
    found = all_programs[name]
    if isinstance(found, BaseException):
        raise found
    recorded = Recorded(
        workflow_id=found.workflow_id,
        run_id=found.run_id,
        workflow_type=attributes(found.events[0]).workflow_type.name,
        events=found.events,
        source="temporal:default",
    )
    async with Workbench(WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner()) as bench:
        judgement = await replay_recorded(recorded, bench)
    assert judgement.comparison is not None, judgement.note
    assert judgement.comparison.differences == ()
    assert judgement.verdict is Verdict.MATCH, judgement.note


async def test_a_history_that_tells_another_story_is_refused(all_programs: dict[str, Real | BaseException]) -> None:
    """The judge does judge."""
    found = all_programs["two steps"]
    assert isinstance(found, Real)
    loaded = record(found.workflow_id, found.run_id, canonical(found.events))
    loaded.entries[0].record = loaded.entries[0].record.replace('"type": "add"', '"type": "subtract"')
    with pytest.raises(NondeterminismError):
        await replay(found.workflow_id, events(loaded))
