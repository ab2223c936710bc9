"""Schedules in a store: versions, who takes what is due, and how a schedule hears that one of its runs has closed."""

from __future__ import annotations

import asyncio
import json

import pytest

from dbos_core.commit import RunStatus
from dbos_core.errors import BadCommit
from dbos_core.schedules.rows import SCHEDULED_BY, ScheduleRow
from dbos_core.store.base import Store, WakeKind
from tests.store.support import HOUR, Ear, Process, close

HOLD_MS = 60_000


async def row(
    store: Store, schedule_id: str = "nightly", *, due_in: int | None = HOUR, created: int = 0
) -> ScheduleRow:
    now = await store.now_ms()
    return ScheduleRow(
        schedule_id=schedule_id,
        record='{"some": "record"}',
        created_ms=created or now,
        wake_at_ms=None if due_in is None else now + due_in,
        request_id="request-1",
        memo='{"a":1}',
        search_attributes='{"CustomerId": "c-7"}',
    )


async def created(store: Store, schedule_id: str = "nightly", **fields: int | None) -> ScheduleRow:
    new = await row(store, schedule_id, **fields)  # type: ignore[arg-type]
    assert await store.create_schedule(new) is None
    return new


async def test_what_is_created_is_found(store: Store) -> None:
    new = await created(store)
    found = await store.find_schedule("nightly")
    assert found is not None
    assert json.loads(found.search_attributes or "") == {"CustomerId": "c-7"}
    found.search_attributes = new.search_attributes
    assert found == new
    assert await store.find_schedule("weekly") is None


async def test_an_id_is_taken_until_it_is_deleted(store: Store) -> None:
    await created(store)
    again = await row(store)
    again.request_id = "request-2"
    existing = await store.create_schedule(again)
    assert existing is not None
    assert existing.request_id == "request-1"
    assert await store.delete_schedule("nightly")
    assert not await store.delete_schedule("nightly")
    assert await store.create_schedule(again) is None


async def test_of_two_who_write_at_once_one_is_told(store: Store) -> None:
    await created(store)
    first, second = await store.find_schedule("nightly"), await store.find_schedule("nightly")
    assert first is not None
    assert second is not None
    first.record, second.record = '{"by": 1}', '{"by": 2}'
    assert await store.save_schedule(first)
    assert not await store.save_schedule(second)
    assert await store.save_schedule(first), "the winner goes on with the version it has now"
    found = await store.find_schedule("nightly")
    assert found is not None
    assert (found.record, found.version) == ('{"by": 1}', first.version)
    assert not await store.delete_schedule("nightly", first.version - 1)
    assert await store.delete_schedule("nightly", first.version)
    assert not await store.save_schedule(first)


async def test_what_is_due_is_taken_once(ours: Process, theirs: Process) -> None:
    await created(ours.store, "due", due_in=-1)
    await created(ours.store, "later", due_in=HOUR)
    await created(ours.store, "never", due_in=None)
    mine, yours = await asyncio.gather(ours.store.take_schedules(10, HOLD_MS), theirs.store.take_schedules(10, HOLD_MS))
    assert [one.schedule_id for one in (*mine.rows, *yours.rows)] == ["due"]
    [taken] = [*mine.rows, *yours.rows]
    assert taken.version == 2
    assert taken.wake_at_ms is not None
    assert taken.wake_at_ms - mine.now_ms >= HOLD_MS - 5_000
    after = await ours.store.take_schedules(10, HOLD_MS)
    assert not after.rows
    assert after.next_due_in_ms is not None
    assert 0 < after.next_due_in_ms <= HOLD_MS


async def test_who_took_and_died_holds_it_for_a_while_only(ours: Process, theirs: Process) -> None:
    await created(ours.store, due_in=-1)
    [taken] = (await ours.store.take_schedules(10, -1)).rows
    [again] = (await theirs.store.take_schedules(10, HOLD_MS)).rows
    assert not await ours.store.save_schedule(taken), "somebody else has it now"
    assert await theirs.store.save_schedule(again)


async def test_a_limit_and_the_next(store: Store) -> None:
    for number in range(3):
        await created(store, f"s{number}", due_in=-10 + number)
    first = await store.take_schedules(2, HOLD_MS)
    assert [one.schedule_id for one in sorted(first.rows, key=lambda one: one.schedule_id)] == ["s0", "s1"]
    assert [one.schedule_id for one in (await store.take_schedules(2, HOLD_MS)).rows] == ["s2"]


async def test_the_pulse_says_when_the_next_is_due(ours: Process) -> None:
    assert (await ours.pulse()).schedule_due_in_ms is None
    await created(ours.store, "later", due_in=HOUR)
    due_in = (await ours.pulse()).schedule_due_in_ms
    assert due_in is not None
    assert HOUR - 30_000 < due_in <= HOUR
    await created(ours.store, "due", due_in=-1)
    assert (await ours.pulse()).schedule_due_in_ms == 0


async def test_others_hear_of_one_that_is_due(ours: Process, ear: Ear) -> None:
    await created(ours.store, "later", due_in=HOUR)
    await ear.has_not_heard(WakeKind.SCHEDULE, "")
    await created(ours.store, "due", due_in=-1)
    await ear.hears(WakeKind.SCHEDULE, "")


async def test_others_hear_of_one_that_became_due_by_a_change(ours: Process, ear: Ear) -> None:
    changed = await created(ours.store, due_in=HOUR)
    changed.wake_at_ms = await ours.store.now_ms()
    assert await ours.store.save_schedule(changed)
    await ear.hears(WakeKind.SCHEDULE, "")


@pytest.mark.parametrize("how", ["finished", "terminated", "continued"])
async def test_a_closed_run_makes_its_schedule_due(how: str, ours: Process, ear: Ear) -> None:
    await created(ours.store, due_in=None)
    run = await ours.start(search_attributes=json.dumps({SCHEDULED_BY: "nightly"}))
    assert not (await ours.store.take_schedules(10, HOLD_MS)).rows
    if how == "terminated":
        await ours.store.terminate(ours.id, run.workflow_uuid, close(RunStatus.TERMINATED, seen=None))
    else:
        await ours.finish(run.workflow_uuid, RunStatus.CONTINUED_AS_NEW if how == "continued" else RunStatus.COMPLETED)
    await ear.hears(WakeKind.SCHEDULE, "")
    assert (await ours.pulse()).schedule_due_in_ms == 0
    assert [one.schedule_id for one in (await ours.store.take_schedules(10, HOLD_MS)).rows] == ["nightly"]
    assert not (await ours.store.take_schedules(10, HOLD_MS)).rows


async def test_a_run_of_no_schedule_wakes_none(ours: Process, ear: Ear) -> None:
    await created(ours.store, due_in=None)
    run = await ours.start(search_attributes='{"CustomerId": "c-7"}')
    await ours.finish(run.workflow_uuid)
    await ear.has_not_heard(WakeKind.SCHEDULE, "")
    assert not (await ours.store.take_schedules(10, HOLD_MS)).rows


async def test_news_for_a_schedule_that_is_gone_is_dropped(ours: Process) -> None:
    run = await ours.start(search_attributes=json.dumps({SCHEDULED_BY: "deleted"}))
    await ours.finish(run.workflow_uuid)
    assert not (await ours.store.take_schedules(10, HOLD_MS)).rows
    assert (await ours.pulse()).schedule_due_in_ms is None


async def test_the_list_is_newest_first_and_comes_in_pages(store: Store) -> None:
    for number, schedule_id in enumerate(["b", "a", "C", "d"]):
        await created(store, schedule_id, created=1_000 + number // 2)
    first = await store.list_schedules(None, 3)
    assert [one.schedule_id for one in first] == ["d", "C", "b"]
    rest = await store.list_schedules((first[-1].created_ms, first[-1].schedule_id), 3)
    assert [one.schedule_id for one in rest] == ["a"]


async def test_current_runs_by_id(ours: Process) -> None:
    one, two = await ours.start("one"), await ours.start("two")
    await ours.finish(two.workflow_uuid)
    found = await ours.store.current_runs(["one", "two", "three"])
    assert {row.workflow_id: (row.run_id, row.status) for row in found} == {
        "one": (one.run_id, RunStatus.RUNNING),
        "two": (two.run_id, RunStatus.COMPLETED),
    }


async def test_what_no_text_can_hold_is_refused(store: Store) -> None:
    bad = await row(store, "nul")
    bad.memo = '{"a":"\0"}'
    with pytest.raises(BadCommit):
        await store.create_schedule(bad)
    assert await store.find_schedule("nul") is None
