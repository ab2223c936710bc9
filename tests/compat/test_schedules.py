"""Schedules as their users see them: describe, list, change, trigger, backfill, and what a run knows of its schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.schedule.v1 import Schedule as ScheduleMessage
from temporalio.api.schedule.v1 import ScheduleSpec as SpecMessage
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeScheduleRequest,
    ListScheduleMatchingTimesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from .support import KEYWORD, MakeWorker, eventually


@workflow.defn
class Report:
    """Says what it knows of its schedule and of the run before."""

    @workflow.run
    async def run(self, name: str) -> dict[str, str]:
        attributes = {pair.key.name: pair.value for pair in workflow.info().typed_search_attributes}
        return {
            "name": name,
            "id": workflow.info().workflow_id,
            "by": str(attributes["TemporalScheduledById"]),
            "at": attributes["TemporalScheduledStartTime"].isoformat(),
            "before": str(workflow.get_last_completion_result(dict)),
            "memo": str(workflow.memo_value("why", default=None)),
        }


def action(unique: str, queue: str, **options: Any) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow("Report", "daily", id=f"report-{unique}", task_queue=queue, **options)


def at_no_time(unique: str, queue: str, **options: Any) -> Schedule:
    """A schedule that does nothing by itself."""
    return Schedule(action=action(unique, queue), spec=ScheduleSpec(), **options)


async def acted(handle: ScheduleHandle, number: int) -> ScheduleDescription:
    async def so_often() -> ScheduleDescription:
        described = await handle.describe()
        assert described.info.num_actions == number
        return described

    return await eventually(so_often)


async def stands(handle: ScheduleHandle, *, paused: bool, note: str) -> ScheduleDescription:
    """Wait until it is described so; on Temporal's server a change is a message to the schedule's workflow."""

    async def so() -> ScheduleDescription:
        described = await handle.describe()
        assert (described.schedule.state.paused, described.schedule.state.note) == (paused, note)
        return described

    return await eventually(so)


def runs(described: ScheduleDescription) -> list[ScheduleActionExecutionStartWorkflow]:
    found = []
    for result in described.info.recent_actions:
        assert isinstance(result.action, ScheduleActionExecutionStartWorkflow)
        found.append(result.action)
    return found


async def result_of(client: Client, run: ScheduleActionExecutionStartWorkflow) -> dict[str, str]:
    handle = client.get_workflow_handle(run.workflow_id, run_id=run.first_execution_run_id)
    return dict(await handle.result())


async def refused(call: object) -> RPCError:
    with pytest.raises(RPCError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def test_a_description_shows_what_was_asked_for_with_its_defaults(
    client: Client, unique: str, queue: str
) -> None:
    start = datetime(2060, 7, 8, 9, 10, 11, 123456, tzinfo=UTC)
    asked = Schedule(
        action=action(unique, queue, memo={"why": "audit"}, execution_timeout=timedelta(hours=1)),
        spec=ScheduleSpec(
            calendars=[ScheduleCalendarSpec(hour=(ScheduleRange(4, 20, 6),), comment="four times")],
            intervals=[ScheduleIntervalSpec(every=timedelta(days=10), offset=timedelta(days=2))],
            cron_expressions=["0 12 * * MON#lunch"],
            skip=[ScheduleCalendarSpec(year=(ScheduleRange(2050),))],
            start_at=start,
            end_at=start + timedelta(days=400),
            jitter=timedelta(seconds=80),
            time_zone_name="Europe/Berlin",
        ),
        state=ScheduleState(note="for the auditors", paused=True, limited_actions=True, remaining_actions=30),
    )
    handle = await client.create_schedule(
        f"s-{unique}",
        asked,
        memo={"owner": "finance"},
        search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, "k")]),
    )
    described = await handle.describe()
    spec = described.schedule.spec
    assert spec.calendars[0] == asked.spec.calendars[0]
    assert spec.calendars[1] == ScheduleCalendarSpec(
        hour=(ScheduleRange(12),), day_of_week=(ScheduleRange(1),), comment="lunch"
    )
    assert spec.intervals == asked.spec.intervals
    assert spec.skip == asked.spec.skip
    assert (spec.start_at, spec.end_at, spec.jitter) == (start, start + timedelta(days=400), timedelta(seconds=80))
    assert spec.time_zone_name == "Europe/Berlin"
    assert not spec.cron_expressions
    policy = described.schedule.policy
    assert (policy.overlap, policy.catchup_window) == (ScheduleOverlapPolicy.SKIP, timedelta(days=365))
    assert described.schedule.state == asked.state
    assert await described.memo_value("owner") == "finance"
    assert described.typed_search_attributes[KEYWORD] == "k"
    assert described.info.created_at is not None
    assert described.info.last_updated_at is None
    assert len(described.info.next_action_times) == 10
    assert described.info.next_action_times[0] > start
    await handle.delete()


async def test_next_times_follow_the_zone_over_the_change_of_clocks(client: Client, unique: str, queue: str) -> None:
    """In New York half past one comes twice on the day when clocks go back; see test_clock_changes."""
    spec = ScheduleSpec(
        cron_expressions=["TZ=America/New_York 30 1,2 1-8 3,11 *"],
        start_at=datetime(2040, 3, 10, tzinfo=UTC) - timedelta(days=2),
    )
    handle = await client.create_schedule(
        f"s-{unique}", Schedule(action=action(unique, queue), spec=spec, state=ScheduleState(paused=True))
    )
    request = ListScheduleMatchingTimesRequest(namespace=client.namespace, schedule_id=handle.id)
    request.start_time.FromDatetime(datetime(2040, 11, 4))  # noqa: DTZ001
    request.end_time.FromDatetime(datetime(2040, 11, 5))  # noqa: DTZ001
    found = await client.workflow_service.list_schedule_matching_times(request)
    assert [moment.ToJsonString() for moment in found.start_time] == [
        "2040-11-04T05:30:00Z",
        "2040-11-04T06:30:00Z",
        "2040-11-04T07:30:00Z",
    ]
    await handle.delete()


async def test_trigger_starts_a_run_that_knows_where_it_comes_from(
    client: Client, unique: str, queue: str, make_worker: MakeWorker
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Report]):
        schedule = Schedule(
            action=action(unique, queue, memo={"why": "audit"}), spec=ScheduleSpec(), state=ScheduleState(paused=True)
        )
        handle = await client.create_schedule(f"s-{unique}", schedule, trigger_immediately=True)
        described = await handle.describe()
        assert described.info.num_actions == 1, "done before create answers"
        [run] = runs(described)
        result = await result_of(client, run)
        assert result["name"] == "daily"
        assert result["by"] == handle.id
        assert result["memo"] == "audit"
        assert result["before"] == "None"
        at = datetime.fromisoformat(result["at"])
        assert run.workflow_id == result["id"] == f"report-{unique}-{at:%Y-%m-%dT%H:%M:%SZ}"
        started = await client.get_workflow_handle(run.workflow_id).fetch_history()
        attributes = started.events[0].workflow_execution_started_event_attributes
        assert attributes.identity == f"temporal-scheduler-default-{handle.id}"
        assert described.schedule.state.paused

        await handle.trigger(overlap=ScheduleOverlapPolicy.BUFFER_ONE)
        described = await acted(handle, 2)
        second = await result_of(client, runs(described)[-1])
        assert second["before"] == str(result), "the result of the run before"
        await handle.delete()


async def test_pause_unpause_and_update(client: Client, unique: str, queue: str) -> None:
    handle = await client.create_schedule(f"s-{unique}", at_no_time(unique, queue))
    await handle.pause()
    await stands(handle, paused=True, note="Paused via Python SDK")
    await handle.unpause(note="go on")
    described = await stands(handle, paused=False, note="go on")
    assert described.info.last_updated_at is None

    async def change(update: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = update.description.schedule
        assert isinstance(schedule.action, ScheduleActionStartWorkflow)
        schedule.action.task_timeout = timedelta(minutes=7)
        schedule.policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ALL, catchup_window=timedelta(seconds=1))
        return ScheduleUpdate(schedule=schedule)

    await handle.update(change)

    async def changed() -> ScheduleDescription:
        described = await handle.describe()
        assert described.info.last_updated_at is not None
        return described

    described = await eventually(changed)
    assert isinstance(described.schedule.action, ScheduleActionStartWorkflow)
    assert described.schedule.action.task_timeout == timedelta(minutes=7)
    assert described.schedule.policy.overlap == ScheduleOverlapPolicy.BUFFER_ALL
    assert described.schedule.policy.catchup_window == timedelta(seconds=10), "the least there is"
    assert described.schedule.state.note == "go on"
    await handle.delete()


async def test_conflict_tokens_count_changes(client: Client, unique: str, queue: str) -> None:
    handle = await client.create_schedule(f"s-{unique}", at_no_time(unique, queue))

    async def counted(token: int) -> None:
        """Each by itself: Temporal's server counts changes that it takes up together as one."""

        async def fact() -> None:
            described = (await handle.describe()).raw_description
            assert int.from_bytes(described.conflict_token, "big") == token

        await eventually(fact)

    await counted(1)
    await handle.pause()
    await counted(2)
    await handle.unpause()
    await counted(3)
    described = (await handle.describe()).raw_description
    for token, matching in ((4, described.conflict_token), (5, b"")):
        await client.workflow_service.update_schedule(
            UpdateScheduleRequest(
                namespace=client.namespace, schedule_id=handle.id, schedule=described.schedule, conflict_token=matching
            )
        )
        await counted(token)
    await handle.delete()


async def test_an_outdated_token_changes_nothing(client: Client, engine: str, unique: str, queue: str) -> None:
    """The server drops such an update without a word; we say so (see the differences)."""
    handle = await client.create_schedule(f"s-{unique}", at_no_time(unique, queue))
    described = (await handle.describe()).raw_description
    await handle.pause(note="meanwhile")
    await stands(handle, paused=True, note="meanwhile")
    request = UpdateScheduleRequest(
        namespace=client.namespace,
        schedule_id=handle.id,
        schedule=described.schedule,
        conflict_token=described.conflict_token,
    )
    if engine == "temporal":
        await client.workflow_service.update_schedule(request)
    else:
        error = await refused(client.workflow_service.update_schedule(request))
        assert (error.status, error.message) == (RPCStatusCode.FAILED_PRECONDITION, "mismatched conflict token")
    await handle.unpause(note="after")  # behind it in the order of things
    assert (await stands(handle, paused=False, note="after")).info.last_updated_at is None
    await handle.delete()


async def test_backfill_takes_the_times_of_the_past(
    client: Client, unique: str, queue: str, make_worker: MakeWorker
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Report]):
        schedule = Schedule(
            action=action(unique, queue),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(minutes=1))]),
            state=ScheduleState(paused=True),
        )
        handle = await client.create_schedule(f"s-{unique}", schedule)
        begin = datetime(2020, 1, 20, 5, tzinfo=UTC)
        await handle.backfill(
            ScheduleBackfill(
                start_at=begin, end_at=begin + timedelta(minutes=3), overlap=ScheduleOverlapPolicy.BUFFER_ALL
            )
        )
        described = await acted(handle, 4)
        assert [run.workflow_id for run in runs(described)] == [
            f"report-{unique}-2020-01-20T05:0{minute}:00Z" for minute in range(4)
        ]
        assert [result.scheduled_at for result in described.info.recent_actions] == [
            begin + timedelta(minutes=minute) for minute in range(4)
        ]
        results = [await result_of(client, run) for run in runs(described)]
        assert [result["before"] for result in results[1:]] == [str(result) for result in results[:-1]]
        await handle.delete()


async def test_lists_and_counts(client: Client, unique: str, queue: str) -> None:
    attributes = TypedSearchAttributes([SearchAttributePair(KEYWORD, f"k-{unique}")])
    for number in range(5):
        await client.create_schedule(
            f"s{number}-{unique}",
            at_no_time(unique, queue, state=ScheduleState(paused=number == 3, note=f"note {number}")),
            memo={"number": number},
            search_attributes=attributes,
        )
    mine = f"CompatKeyword = 'k-{unique}'"

    async def all_five() -> list[str]:
        found = [entry.id async for entry in await client.list_schedules(mine, page_size=2)]
        assert len(found) == 5
        return found

    assert await eventually(all_five) == [f"s{number}-{unique}" for number in (4, 3, 2, 1, 0)]

    async def ids(query: str) -> list[str]:
        return [entry.id async for entry in await client.list_schedules(query)]

    assert await ids(f"{mine} AND TemporalSchedulePaused = true") == [f"s3-{unique}"]
    assert await ids(f"ScheduleId = 's1-{unique}'") == [f"s1-{unique}"]
    assert await ids(f"ScheduleId IN ('s1-{unique}', 's2-{unique}')") == [f"s2-{unique}", f"s1-{unique}"]
    count = await client.workflow_service.count_schedules(
        CountSchedulesRequest(namespace=client.namespace, query=f"{mine} AND TemporalSchedulePaused = false")
    )
    assert count.count == 4
    [entry] = [entry async for entry in await client.list_schedules(f"ScheduleId = 's3-{unique}'")]
    assert entry.schedule is not None
    assert (entry.schedule.state.paused, entry.schedule.state.note) == (True, "note 3")
    assert entry.schedule.action.workflow == "Report"  # type: ignore[attr-defined]
    assert entry.typed_search_attributes[KEYWORD] == f"k-{unique}"
    assert await entry.memo_value("number") == 3
    for query, message in (
        ("WorkflowId = 'x'", 'invalid query filter for schedules: cannot filter on "WorkflowId"'),
        ("ExecutionStatus = 'Running'", 'invalid query filter for schedules: cannot filter on "ExecutionStatus"'),
        ("x y z", "invalid query: malformed SQL query: syntax error at position 31 near 'y'"),
    ):
        error = await refused(ids(query))
        assert (error.status, error.message) == (RPCStatusCode.INVALID_ARGUMENT, message)
    for number in range(5):
        await client.get_schedule_handle(f"s{number}-{unique}").delete()

    async def none() -> None:
        assert not await ids(mine)

    await eventually(none)


async def test_ids_are_unique_and_deleting_frees_them(client: Client, unique: str, queue: str) -> None:
    handle = await client.create_schedule(f"s-{unique}", at_no_time(unique, queue))
    with pytest.raises(ScheduleAlreadyRunningError):
        await client.create_schedule(handle.id, at_no_time(unique, queue))
    await handle.delete()
    absent = f"workflow not found for ID: temporal-sys-scheduler:s-{unique}-nobody"
    service, asked = client.workflow_service, {"namespace": client.namespace, "schedule_id": f"s-{unique}-nobody"}
    patch = PatchScheduleRequest(**asked)  # type: ignore[arg-type]
    patch.patch.pause = "x"
    for call in (
        service.describe_schedule(DescribeScheduleRequest(**asked)),
        service.patch_schedule(patch),
        service.delete_schedule(DeleteScheduleRequest(**asked)),
    ):
        error = await refused(call)
        assert (error.status, error.message) == (RPCStatusCode.NOT_FOUND, absent)
    again = await client.create_schedule(handle.id, at_no_time(unique, queue))
    await again.delete()


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("* * *", "CronString does not have 5-7 fields"),
        ("61 * * * *", "Minute is not in range [0-59]"),
        ("1/2/3 * * * *", "Minute has too many slashes"),
        ("*/x * * * *", 'strconv.Atoi: parsing "x": invalid syntax'),
        ("5-1 * * * *", "Minute End is before Start or not in range [0-59]"),
        ("1-2-3 * * * *", "Minute has too many dashes"),
        ("TZ=Nope/Zone 0 0 * * *", "unknown time zone Nope/Zone"),
        ("TZ=UTC", "CronString has time zone but missing fields"),
        ("@every 10", 'time: missing unit in duration "10"'),
        ("@every 0.5s", "interval is too small"),
        ("@every 1d/2d", "phase cannot be greater than Interval"),
        ("0 0 * foo *", "Month is not in range [1-12]"),
        ("0 0 1 1 * 1999", "Year is not in range [2000-2100]"),
        ("99 99 * * *", "Minute is not in range [0-59], Hour is not in range [0-23]"),
    ],
)
async def test_times_that_cannot_be_are_refused(
    client: Client, unique: str, queue: str, cron: str, message: str
) -> None:
    request = CreateScheduleRequest(
        namespace=client.namespace,
        schedule_id=f"s-{unique}",
        request_id=unique,
        schedule=ScheduleMessage(spec=SpecMessage(cron_string=[cron])),
    )
    error = await refused(client.workflow_service.create_schedule(request))
    assert (error.status, error.message) == (RPCStatusCode.INVALID_ARGUMENT, f"Invalid schedule spec: {message}")
