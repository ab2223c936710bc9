"""Where clocks change: schedules fire when Temporal's do, and so do cron schedules of workflows.

The times to expect are computed by this project's own rules. On Temporal's server the tests say that these are its rules,
on ours that they arrive.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.client import ScheduleRange as Range
from temporalio.service import RPCError

from dbos_compat.chains.cron import backoff_ms
from dbos_core.schedules.calendar import Calendar
from dbos_core.schedules.calendar import Range as KernelRange
from dbos_core.schedules.spec import Spec, Times, with_cron
from dbos_core.schedules.wall import Wall, zone_named

SPECS = [
    "0 * * * *",
    "*/20 * * * *",
    "30 2 * * *",
    "30 1 * * *",
    "0 2 * * *",
    "0 3 * * *",
    "0 0 * * *",
    "15,45 1-3 * * *",
    "59 23 * * *",
    "30 0 * * *",
    "0 0-6/2 * * *",
    "15 2 * * SUN",
    "10 23 * * SAT",
    "*/7 0,2 * * *",
]
CHANGES = {
    "Europe/Berlin": [date(2026, 10, 25), date(2026, 3, 29)],
    "Europe/London": [date(2026, 10, 25), date(2026, 3, 29)],
    "America/New_York": [date(2026, 11, 1), date(2026, 3, 8)],
    "Australia/Sydney": [date(2026, 4, 5), date(2026, 10, 4)],
    "Australia/Lord_Howe": [date(2026, 4, 5), date(2026, 10, 4)],
    "Africa/Cairo": [date(2026, 10, 30), date(2026, 4, 24)],
    "Africa/Casablanca": [date(2026, 2, 15), date(2026, 3, 22)],
    "America/Santiago": [date(2026, 4, 5), date(2026, 9, 6)],
    "America/Havana": [date(2026, 11, 1), date(2026, 3, 8)],
    "Antarctica/Troll": [date(2026, 10, 25), date(2026, 3, 29)],
    "UTC": [date(2026, 10, 25)],
}


async def matching(client: Client, schedule_id: str, start: datetime, end: datetime) -> list[datetime]:
    request = ListScheduleMatchingTimesRequest(namespace=client.namespace, schedule_id=schedule_id)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    found = await client.workflow_service.list_schedule_matching_times(request)
    return [moment.ToDatetime(UTC) for moment in found.start_time]


def expected(spec: Spec, start: datetime, end: datetime) -> list[datetime]:
    found = []
    for time in Times(spec, "").after(int(start.timestamp()) * 1000):
        moment = datetime.fromtimestamp(time.due_ms // 1000, UTC)
        if moment > end:
            break
        found.append(moment)
    return found


async def created(client: Client, unique: str, spec: ScheduleSpec) -> str:
    action = ScheduleActionStartWorkflow("Any", id=f"any-{unique}", task_queue=f"queue-{unique}")
    schedule = Schedule(action=action, spec=spec, state=ScheduleState(paused=True))
    return (await client.create_schedule(f"s-{unique}", schedule)).id


@pytest.mark.parametrize("zone", CHANGES)
async def test_schedules(client: Client, unique: str, zone: str) -> None:
    async def agrees(number: int, text: str) -> None:
        name = await created(client, f"{unique}-{number}", ScheduleSpec(cron_expressions=[text], time_zone_name=zone))
        for day in CHANGES[zone]:
            start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1)
            end = start + timedelta(days=3)
            ours = expected(with_cron(Spec(zone=zone), [text]), start, end)
            assert await matching(client, name, start, end) == ours, (text, day)
        await client.get_schedule_handle(name).delete()

    await asyncio.gather(*(agrees(number, text) for number, text in enumerate(SPECS)))


async def test_the_hour_that_comes_twice_in_europe(client: Client, unique: str) -> None:
    """Only its second half past two counts; and half past one comes an hour later once more. In words, not by rules."""
    times = []
    for number, text in enumerate(["30 2 * * *", "30 1 * * *"]):
        spec = ScheduleSpec(cron_expressions=[f"TZ=Europe/Berlin {text}"])
        name = await created(client, f"{unique}-{number}", spec)
        found = await matching(
            client, name, datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC)
        )
        times.append([moment.strftime("%H:%M") for moment in found])
        await client.get_schedule_handle(name).delete()
    assert times == [["01:30"], ["23:30", "00:30"]]


async def test_long_exclusions(client: Client, unique: str) -> None:
    """What is excluded is passed over in long strides, but step by step where it matters: each step leads elsewhere."""
    skip = ScheduleCalendarSpec(
        second=[Range(0, 59)], minute=[Range(0, 59)], hour=[Range(2)], comment="the hour that comes twice"
    )
    spec = ScheduleSpec(cron_expressions=["* * * * *"], skip=[skip], time_zone_name="Europe/Berlin")
    name = await created(client, unique, spec)
    start, end = datetime(2026, 10, 24, 23, 40, tzinfo=UTC), datetime(2026, 10, 25, 3, tzinfo=UTC)
    excluded = Calendar(
        second=(KernelRange(0, 59),),
        minute=(KernelRange(0, 59),),
        hour=(KernelRange(2),),
        day_of_month=(KernelRange(1, 31),),
        month=(KernelRange(1, 12),),
        day_of_week=(KernelRange(0, 6),),
    )
    ours = expected(with_cron(Spec(zone="Europe/Berlin", excluded=(excluded,)), ["* * * * *"]), start, end)
    found = await matching(client, name, start, end)
    assert found == ours
    assert [moment.strftime("%H:%M") for moment in found[18:20]] == ["23:59", "02:02"], "two minutes too long"
    await client.get_schedule_handle(name).delete()


def near_changes(zone: str) -> list[str]:
    """Cron schedules for the days on which the zone's clocks are changed next."""
    wall = Wall(zone_named(zone))
    now = int(datetime.now(UTC).timestamp()) + 86_400
    found = []
    for _ in range(2):
        before = wall.offset_s(now)
        while wall.offset_s(now) == before:
            now += 900
        for moment in (wall.local(now - 900), wall.local(now)):
            day = f"{moment.day} {moment.month} *"
            found += [f"TZ={zone} 30 {moment.hour} {day}", f"TZ={zone} 15 {(moment.hour + 1) % 24} {day}"]
            found += [f"TZ={zone} 5 {(moment.hour + 2) % 24} * {moment.month} {moment.isoweekday() % 7}"]
    return found


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago"]
)
async def test_cron_schedules_of_workflows(client: Client, unique: str, queue: str, zone: str) -> None:
    async def agrees(number: int, text: str) -> None:
        handle = await client.start_workflow("Any", id=f"{unique}-{number}", task_queue=queue, cron_schedule=text)
        event = (await handle.fetch_history()).events[0]
        await handle.terminate()
        waits = event.workflow_execution_started_event_attributes.first_workflow_task_backoff.seconds
        begun_ms = event.event_time.ToMilliseconds()
        ours_ms = backoff_ms(text, begun_ms, begun_ms)
        assert ours_ms is not None
        assert abs(waits - ours_ms // 1000) <= 1, text

    await asyncio.gather(*(agrees(number, text) for number, text in enumerate(near_changes(zone))))


@pytest.mark.parametrize("text", ["0 0 30 2 *", ", * * * *"])
async def test_a_cron_schedule_without_a_time(client: Client, queue: str, wid: str, text: str) -> None:
    with pytest.raises(RPCError, match="invalid CronSchedule, no time can be found to satisfy the schedule"):
        await client.start_workflow("Any", id=wid, task_queue=queue, cron_schedule=text)


@pytest.mark.parametrize(
    "text",
    [
        "TZ= 0 0 1 1 *",
        "TZ=Local 0 0 1 1 *",
        "CRON_TZ= @yearly",
        "0,,0 0 1 1 *",
        "0 0 1 1 *-3",
        "+0 0 1 1 ?-x",
        "0 0/99999999999 1 1 *",
    ],
)
async def test_odd_texts_that_mean_new_year(client: Client, queue: str, wid: str, text: str) -> None:
    handle = await client.start_workflow("Any", id=wid, task_queue=queue, cron_schedule=text)
    described = await handle.describe()
    await handle.terminate()
    assert described.execution_time is not None
    assert described.execution_time.strftime("%m-%d %H:%M") == "01-01 00:00"


@pytest.mark.parametrize("text", ["@every 9223372037s", "TZ=a..b * * * * *"])
async def test_odd_texts_that_mean_nothing(client: Client, queue: str, wid: str, text: str) -> None:
    with pytest.raises(RPCError, match=r"invalid CronSchedule\."):
        await client.start_workflow("Any", id=wid, task_queue=queue, cron_schedule=text)


async def test_exclusions_may_name_what_does_not_exist(client: Client, unique: str) -> None:
    skip = [
        ScheduleCalendarSpec(hour=[Range(24)]),
        ScheduleCalendarSpec(hour=[Range(5, 1_000)], comment="x" * 201),
        ScheduleCalendarSpec(year=[Range(1990)]),
    ]
    spec = ScheduleSpec(cron_expressions=["0 4,5 1 1 * 2040"], skip=skip, time_zone_name="Local")
    name = await created(client, unique, spec)
    described = await client.get_schedule_handle(name).describe()
    assert described.schedule.spec.time_zone_name == "Local"
    [time] = described.info.next_action_times
    assert time == datetime(2040, 1, 1, 4, tzinfo=UTC)
    await client.get_schedule_handle(name).delete()


async def test_names_of_zones_that_are_none(client: Client, unique: str) -> None:
    for name, words in (("Mars/Phobos", "unknown time zone Mars/Phobos"), ("../UTC", "time: invalid location name")):
        with pytest.raises(RPCError) as refused:
            await created(client, unique, ScheduleSpec(time_zone_name=name))
        assert refused.value.message == f"Invalid schedule spec: {words}"
