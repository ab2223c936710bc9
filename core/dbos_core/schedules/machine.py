"""The moves of a schedule. Pure: each function changes the :class:`~.state.Schedule` that it is given, and nothing else.

In a round, in this order: what is known of the runs (``closed``), the times that have passed (``advance``), what to do
about them (``decide``). Then the schedule is written down, the starts in ``starting`` are carried out, and what became
of each is told (``started``, ``not_started``); then another round. The order and the rules are those of Temporal's
scheduler.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from dbos_core.commit import RunStatus
from dbos_core.schedules.policy import Overlap, choose
from dbos_core.schedules.spec import BadSpec, Time, Times, times
from dbos_core.schedules.state import Action, Backfill, Definition, Schedule, Start

WAITING_MAX = 1000
"""Starts that wait at once; more are dropped, and counted."""
BACKFILL_TIMES_MAX = 10
"""Times of backfills that are dealt with in one round ..."""
BACKFILL_EVERY_MS = 1000
"""... and how long the next round of them waits, so that a long backfill does not start everything at once."""
ROUND_TIMES_MAX = 1000
"""Times that are dealt with in one round; more of them have come to pass only after a long standstill."""
RECENT_MAX = 10
KEPT_WHEN_DONE_MS = 7 * 86_400_000
"""How long a schedule that will never do anything again is kept."""

_NAMES = uuid.UUID("3f0d7a3e-5f0e-4e6e-9a37-4d0a6f1a2f66")


@dataclass(slots=True, kw_only=True)
class Decision:
    """What to do besides starting what is in ``Schedule.starting``."""

    cancel: list[Action] = field(default_factory=list)
    terminate: list[Action] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Patch:
    """A request to do something with a schedule as it is."""

    trigger: Overlap | None = None
    """Start a run now, under this policy."""
    trigger_ms: int | None = None
    backfills: list[tuple[int, int, Overlap]] = field(default_factory=list)
    """From, to (both inclusive, in milliseconds), policy."""
    pause: str = ""
    """Pause, with this note."""
    unpause: str = ""


# -- what users ask ----------------------------------------------------------------------------------------------------


def create(schedule_id: str, uid: str, definition: Definition, now_ms: int) -> Schedule:
    return Schedule(schedule_id=schedule_id, uid=uid, definition=definition, created_ms=now_ms, processed_ms=now_ms)


def update(schedule: Schedule, definition: Definition, now_ms: int) -> None:
    schedule.definition = definition
    schedule.updated_ms = now_ms
    schedule.invalid = ""
    schedule.token += 1


def patch(schedule: Schedule, wanted: Patch, now_ms: int) -> None:
    if wanted.trigger is not None:
        schedule.triggers += 1
        when_ms = now_ms if wanted.trigger_ms is None else wanted.trigger_ms
        _add(schedule, Time(when_ms, when_ms), wanted.trigger, manual=schedule.triggers)
    for start_ms, end_ms, overlap in wanted.backfills:
        if len(schedule.backfills) >= WAITING_MAX:
            schedule.dropped += 1
            continue
        schedule.triggers += 1
        schedule.backfills.append(
            Backfill(after_ms=start_ms - 1, end_ms=end_ms, overlap=overlap, number=schedule.triggers)
        )
    for note, paused in ((wanted.pause, True), (wanted.unpause, False)):
        if note:
            schedule.definition.paused = paused
            schedule.definition.notes = note
            schedule.token += 1


# -- time --------------------------------------------------------------------------------------------------------------


def advance(schedule: Schedule, now_ms: int, *, backfill: bool) -> None:
    """Turn the times that have passed, and with ``backfill`` a portion of the backfills, into starts that wait."""
    clock = _times(schedule)
    if clock is None:
        schedule.processed_ms = max(schedule.processed_ms, now_ms)
        schedule.backfills.clear()
        return
    _pass(schedule, clock, now_ms)
    if backfill:
        _backfill(schedule, clock)


def _pass(schedule: Schedule, clock: Times, now_ms: int) -> None:
    if not may_act(schedule):
        schedule.processed_ms = max(schedule.processed_ms, now_ms)  # what a pause covers is not caught up on
        return
    oldest_ms = now_ms - schedule.definition.policies.catchup_window_ms
    for time in islice(clock.after(schedule.processed_ms), ROUND_TIMES_MAX):
        if time.due_ms > now_ms:
            return
        # Up to the last time that was dealt with, not up to now: one whose jitter puts it later is yet to come.
        schedule.processed_ms = time.due_ms
        if schedule.updated_ms is not None and time.due_ms < schedule.updated_ms:
            continue
        if time.due_ms < oldest_ms:
            schedule.missed += 1
            continue
        _add(schedule, time, Overlap.UNSPECIFIED, manual=0)
    # Very many: those that are missed anyway are not counted one by one any further.
    jitter_ms = schedule.definition.spec.jitter_us // 1000
    if schedule.processed_ms < oldest_ms:
        schedule.processed_ms = max(schedule.processed_ms, oldest_ms - 1 - jitter_ms)


def _backfill(schedule: Schedule, clock: Times) -> None:
    left = BACKFILL_TIMES_MAX
    while schedule.backfills and left > 0 and len(schedule.waiting) < WAITING_MAX // 2:
        backfill = schedule.backfills[0]
        for time in clock.after(backfill.after_ms):
            if time.due_ms > backfill.end_ms:
                schedule.backfills.pop(0)
                break
            if left == 0:
                break
            _add(schedule, time, backfill.overlap, manual=backfill.number)
            backfill.after_ms = time.due_ms
            left -= 1
        else:
            schedule.backfills.pop(0)


def _add(schedule: Schedule, time: Time, overlap: Overlap, *, manual: int) -> None:
    """``manual``: the number of the trigger or backfill, 0 for the schedule's own times."""
    if len(schedule.waiting) >= WAITING_MAX:
        schedule.dropped += 1
        return
    moment = datetime.fromtimestamp(time.nominal_ms // 1000, UTC)
    identity = f"{schedule.uid}|{manual}|{time.nominal_ms}|{0 if manual else schedule.token}"
    schedule.waiting.append(
        Start(
            nominal_ms=time.nominal_ms,
            due_ms=time.due_ms,
            overlap=overlap,
            manual=manual > 0,
            workflow_id=f"{schedule.definition.workflow_id}-{moment:%Y-%m-%dT%H:%M:%SZ}",
            run_id=str(uuid.uuid5(_NAMES, identity)),
        )
    )


def may_act(schedule: Schedule) -> bool:
    """Would a time that comes now be acted on?"""
    definition = schedule.definition
    return not definition.paused and (not definition.limited or definition.remaining > 0)


# -- decisions ---------------------------------------------------------------------------------------------------------


def decide(schedule: Schedule) -> Decision:
    """Move what shall begin from ``waiting`` to ``starting``. Nothing is decided while starts are under way."""
    decision = Decision()
    if schedule.definition.action is None:
        schedule.waiting.clear()
        return decision
    while not schedule.starting and schedule.waiting:
        choice = choose(
            schedule.waiting, running=bool(schedule.running), resolve=lambda policy: _resolved(schedule, policy)
        )
        schedule.waiting = choice.waiting
        schedule.skipped += choice.skipped
        if choice.terminate:
            decision.terminate = list(schedule.running)
        elif choice.cancel:
            decision.cancel = list(schedule.running)
        for start in choice.begin:
            if _take(schedule, start):
                start.alone = _resolved(schedule, start.overlap) is not Overlap.ALLOW_ALL
                schedule.starting.append(start)
        if not choice.begin:
            break
    return decision


def _resolved(schedule: Schedule, overlap: Overlap) -> Overlap:
    return overlap or schedule.definition.policies.overlap or Overlap.SKIP


def _take(schedule: Schedule, start: Start) -> bool:
    """May it begin? Counts against the limit."""
    if start.manual:
        return True
    if not may_act(schedule):
        return False
    if schedule.definition.limited:
        schedule.definition.remaining -= 1
        schedule.token += 1
    return True


# -- outcomes ----------------------------------------------------------------------------------------------------------


def started(schedule: Schedule, run_id: str, started_ms: int) -> None:
    """A start was carried out. Told twice, it counts once."""
    start = _taken(schedule, run_id)
    if start is None:
        return
    action = Action(due_ms=start.due_ms, started_ms=started_ms, workflow_id=start.workflow_id, run_id=start.run_id)
    schedule.actions += 1
    schedule.recent = [*schedule.recent, action][-RECENT_MAX:]
    if start.alone:
        schedule.running.append(action)


def not_started(schedule: Schedule, run_id: str) -> None:
    """A start was refused for good: its workflow id is in use, say."""
    _taken(schedule, run_id)


def _taken(schedule: Schedule, run_id: str) -> Start | None:
    for index, start in enumerate(schedule.starting):
        if start.run_id == run_id:
            return schedule.starting.pop(index)
    return None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a run of a schedule ended."""

    status: RunStatus
    result: str | None = None
    failure: str | None = None
    message: str = ""
    """Of the failure, for people."""


def closed(schedule: Schedule, run_id: str, outcome: Outcome) -> None:
    """A run, with all that followed it in its chain, has ended."""
    gone = next((action for action in schedule.running if action.run_id == run_id), None)
    if gone is None:
        return
    schedule.running.remove(gone)
    for action in schedule.recent:
        if action.run_id == run_id:
            action.status = outcome.status
    if outcome.result is not None:
        schedule.last_result, schedule.last_failure = outcome.result, None
    elif outcome.failure is not None:
        schedule.last_failure = outcome.failure
    definition = schedule.definition
    if not definition.policies.pause_on_failure or definition.paused:
        return
    if outcome.status is RunStatus.FAILED:
        definition.notes = f"paused due to workflow failure: {gone.workflow_id}: {outcome.message}"
    elif outcome.status is RunStatus.TIMED_OUT:
        definition.notes = f"paused due to workflow timeout: {gone.workflow_id}"
    else:
        return
    definition.paused = True
    schedule.token += 1


# -- what comes next ---------------------------------------------------------------------------------------------------


def wake_ms(schedule: Schedule, now_ms: int) -> int | None:
    """When to look at the schedule again, if nothing happens to it before."""
    if schedule.backfills and len(schedule.waiting) < WAITING_MAX // 2:
        return now_ms + BACKFILL_EVERY_MS
    if may_act(schedule) and (clock := _times(schedule)) is not None:
        following = next(clock.after(schedule.processed_ms), None)
        if following is not None:
            return following.due_ms
    return expires_ms(schedule)


def expires_ms(schedule: Schedule) -> int | None:
    """When a schedule that is done with goes away by itself; None while it may still do something."""
    if schedule.definition.paused or schedule.backfills or schedule.waiting or schedule.starting:
        return None
    clock = _times(schedule)
    if may_act(schedule) and clock is not None and next(clock.after(schedule.processed_ms), None) is not None:
        return None
    last_ms = max(schedule.created_ms, schedule.updated_ms or 0, *(action.started_ms for action in schedule.recent))
    return last_ms + KEPT_WHEN_DONE_MS


def future_ms(schedule: Schedule, now_ms: int, most: int) -> list[int]:
    """The next times at which it will act, or would if it were not paused."""
    definition = schedule.definition
    count = min(most, max(definition.remaining, 0)) if definition.limited else most
    clock = _times(schedule)
    if clock is None or count == 0:
        return []
    after_ms = schedule.processed_ms if may_act(schedule) else max(schedule.processed_ms, now_ms)
    since_ms = schedule.updated_ms or 0
    return [time.due_ms for time in islice(_not_before(clock, after_ms, since_ms), count)]


def matching_ms(schedule: Schedule, start_ms: int, end_ms: int, most: int) -> list[int]:
    """The times of its spec in a stretch, whatever became or becomes of them. Raises :class:`BadSpec`."""
    found: list[int] = []
    for time in islice(times(schedule.definition.spec, schedule.uid).after(start_ms), most):
        if time.due_ms > end_ms:
            break
        found.append(time.due_ms)
    return found


def _not_before(clock: Times, after_ms: int, since_ms: int) -> Iterator[Time]:
    return (time for time in clock.after(after_ms) if time.due_ms >= since_ms)


def _times(schedule: Schedule) -> Times | None:
    """Its times; None if this machine cannot compute them (a zone that it does not know), which is noted."""
    try:
        return times(schedule.definition.spec, schedule.uid)
    except BadSpec as error:
        schedule.invalid = str(error)
        return None
