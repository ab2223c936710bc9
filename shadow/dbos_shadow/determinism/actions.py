"""What the world may do next: one boring thing, and many others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dbos_core import failpoints
from dbos_core.errors import StoreUnavailable
from dbos_shadow.determinism.callers import Call
from dbos_shadow.determinism.failure import Rule
from dbos_shadow.determinism.happenings import Kind
from dbos_shadow.determinism.values import chosen

if TYPE_CHECKING:
    from dbos_shadow.determinism.schedule import Schedule

Action = Callable[["Schedule"], None]

BORING = 2
"""Boring things weigh so much against all others together."""
CRASHES_MAX = 3
STALLS_MAX = 1
TURNS = 24
"""A process may be cut off after so many different numbers of turns of its loop (``_turns``)."""
JUMPS_MS = (60_000, 86_400_000, -5_000, 3_600_000)
AFTER_CANCEL = 300
"""Things that may still happen before a cancelled workflow has to have ended: it may have much to take back."""
STARVED_MAX = 6
"""Alarms that may ring until somebody takes activities again."""


# -- the frame -------------------------------------------------------------------------------------------------------------


def begin(schedule: Schedule) -> None:
    """Somebody starts the workflow; there may be no worker yet."""
    how = schedule.choose(4)  # a plain start; nobody serves yet; no worker takes activities, in two ways
    schedule.open(serve=how != 1)
    schedule.settle()
    if how > 1:
        starve(schedule, full=how == 3)
    schedule.start(chosen(schedule.crew.args, schedule.choose))
    schedule.settle()


def act(schedule: Schedule) -> None:
    """The next thing."""
    boring = schedule.actions > schedule.limits.then_boring
    others: list[Action] = [] if boring else _possible(schedule)
    chosen = schedule.choose(1 + len(others) * (1 + BORING), 1 + len(others)) if others else 0
    if 0 < chosen <= len(others):
        others[chosen - 1](schedule)
    else:
        go_on(schedule)
        schedule.settle()


def go_on(schedule: Schedule) -> None:
    """What happens on a plain day."""
    from dbos_shadow.determinism.schedule import Over

    process = schedule.process
    if not process.serving:
        schedule.note(Kind.WORKER_STARTED)
        process.serve()
        return
    idle = all(process.loop.idle for process in schedule.awake)
    if idle and all(not run.open for run in schedule.world.tables.runs.values()) and not schedule.callers.waiting:
        raise Over
    if (
        schedule.canceled_at is not None
        and schedule.actions - schedule.canceled_at > AFTER_CANCEL
        and schedule.open_run
    ):
        schedule.broken(
            Rule.CANCEL_ENDS, f"cancellation was requested, and {AFTER_CANCEL} steps of its world later it goes on."
        )
    reporting = schedule.attempts.reporting
    if reporting:
        running = reporting[0]
        if schedule.attempts.does_not_know(running):
            schedule.attempts.beat(running)
            return
        schedule.attempts.report(running, schedule.attempts.boring(running))
        return
    if schedule.busy and schedule.next_alarm_ms is None:
        _free(schedule)
        return
    expected = schedule.expected
    if expected and schedule.open_run:
        schedule.send(expected[0], plain=True)
        return
    if schedule.next_alarm_ms is not None:
        schedule.note(Kind.CLOCK)
        schedule.pass_time()
        if schedule.busy:
            schedule.busy -= 1
            if not schedule.busy or not schedule.attempts.starving:
                _free(schedule)
        return
    if not idle:
        return  # nobody knows yet whether this is the end
    if schedule.open_run and schedule.canceled_at is not None:
        schedule.broken(
            Rule.CANCEL_ENDS, "cancellation was requested, everything it waited for has come, and it goes on."
        )
    raise Over


def end(schedule: Schedule) -> None:
    """Whoever stood still goes on, and what comes too late comes."""
    for process in list(schedule.processes):
        if process.frozen:
            wake(schedule)
    schedule.settle()
    if not schedule.open_run:
        _after_close(schedule)
    elif schedule.plan.must_end and schedule.actions < schedule.limits.actions:
        schedule.broken(Rule.ENDS, "nothing more comes, and it has not ended.")


def _after_close(schedule: Schedule) -> None:
    messages = schedule.plan.messages
    late = schedule.choose(2 + len(messages) + 1)
    if late == 0:
        return
    if late <= len(messages):
        schedule.send(late - 1)
    elif late == len(messages) + 1 and schedule.plan.cancels:
        schedule.note(Kind.CANCEL)
        schedule.cancel_call()
    else:
        duplicate(schedule)
    schedule.settle()


# -- everything else ---------------------------------------------------------------------------------------------------------


def _possible(schedule: Schedule) -> list[Action]:
    found: list[Action] = []
    process, reporting = schedule.process, schedule.attempts.reporting
    if reporting:
        if len(schedule.attempts.boring_or_else(reporting[0])) > 1:
            found.append(otherwise)
        if len(reporting) > 1:
            found.append(another)
    if (reporting or schedule.expected) and schedule.next_alarm_ms is not None:
        found.append(clock)
    found.append(together)
    found.append(interrupt)
    if process.serving:
        if process.kernel.live_runs:
            found.append(evict)
        if schedule.incarnations <= CRASHES_MAX:
            found.append(crash)
    if any(schedule.left.values()):
        found.append(message)
    if schedule.plan.cancels and schedule.canceled_at is None and schedule.open_run:
        found.append(cancel)
    if schedule.callers.calls:
        found.append(duplicate)
    found.append(jump)
    found.append(database)
    frozen = [p for p in schedule.processes if p.frozen]
    if frozen:
        found.append(wake)
    elif process.serving and schedule.stalls < STALLS_MAX and schedule.incarnations <= CRASHES_MAX:
        found.append(stall)
    if schedule.plan.then is not None and not schedule.new_code and not frozen:
        found.append(deploy)
    if process.serving and not schedule.busy:
        found.append(busy)
    if _with_next(schedule):
        found.append(at_once)
    return found


def _with_next(schedule: Schedule) -> list[Action]:
    """What may come together with whatever comes after it."""
    found: list[Action] = []
    reporting = schedule.attempts.reporting
    if reporting:
        if len(schedule.attempts.boring_or_else(reporting[0])) > 1:
            found.append(otherwise)
        if len(reporting) > 1:
            found += [two_otherwise, another]
    if (reporting or schedule.expected) and schedule.next_alarm_ms is not None:
        found.append(clock)
    if any(schedule.left.values()):
        found.append(message)
    if schedule.plan.cancels and schedule.canceled_at is None and schedule.open_run:
        found.append(cancel)
    return found


def otherwise(schedule: Schedule) -> None:
    """The oldest attempt ends, and not the boring way."""
    running = schedule.attempts.reporting[0]
    endings = schedule.attempts.boring_or_else(running)
    schedule.attempts.report(running, endings[1 + schedule.choose(len(endings) - 1)])
    schedule.settle()


def two_otherwise(schedule: Schedule) -> None:
    """The two oldest attempts end in the same moment, and neither the boring way if it can be helped."""
    for running in schedule.attempts.reporting[:2]:
        endings = schedule.attempts.boring_or_else(running)
        schedule.attempts.report(running, endings[1 + schedule.choose(len(endings) - 1)] if endings[1:] else endings[0])
    schedule.settle()


def another(schedule: Schedule) -> None:
    """A younger attempt ends first."""
    reporting = schedule.attempts.reporting
    running = reporting[1 + schedule.choose(len(reporting) - 1)]
    endings = schedule.attempts.boring_or_else(running)
    schedule.attempts.report(running, endings[schedule.choose(len(endings))])
    schedule.settle()


def together(schedule: Schedule) -> None:
    """What happens next happens in the same moment: one activation may see both."""
    go_on(schedule)


def at_once(schedule: Schedule) -> None:
    """Something out of the ordinary happens, and what comes next in the same moment: one activation may see both."""
    possible = _with_next(schedule)
    schedule.holds = True
    possible[schedule.choose(len(possible))](schedule)


def _turns(chosen: int) -> int:
    """Every number while it is small, and then larger and larger ones: many children take more than a hundred turns."""
    return chosen if chosen < 16 else round(16 * 1.4 ** (chosen - 15))


def interrupt(schedule: Schedule) -> None:
    """What happens next is cut into after a few turns of the loop."""
    schedule.turns_max = 1 + _turns(schedule.choose(TURNS))
    go_on(schedule)
    schedule.settle()


def clock(schedule: Schedule) -> None:
    """Time passes before what would come at once on a plain day."""
    schedule.note(Kind.CLOCK, fault=True)
    schedule.pass_time()
    schedule.settle()


def evict(schedule: Schedule) -> None:
    """All instances leave memory."""
    schedule.note(Kind.EVICTION)
    schedule.evict()
    schedule.settle()


def crash(schedule: Schedule) -> None:
    """The process dies, now or a few turns into what happens next; another one takes over."""
    turns = _turns(schedule.choose(TURNS))
    process = schedule.process
    if turns and process.loop.idle:
        go_on(schedule)
    process.loop.settle(turns)
    schedule.callers.listen()
    schedule.note(Kind.CRASH)
    schedule.kill(process)
    schedule.open()
    schedule.settle()


def message(schedule: Schedule) -> None:
    """A message arrives."""
    left = [index for index, count in schedule.left.items() if count]
    schedule.send(left[schedule.choose(len(left))])
    schedule.settle()


def cancel(schedule: Schedule) -> None:
    schedule.cancel()
    schedule.settle()


def duplicate(schedule: Schedule) -> None:
    """The newest request comes once more: its sender did not get the answer."""
    calls = [call for call in schedule.callers.calls if call.kind != "query" and not call.duplicate]
    if not calls:
        go_on(schedule)
        schedule.settle()
        return
    last: Call = calls[-1]
    schedule.note(Kind.DUPLICATE, last.name or last.kind, last.kind)
    schedule.repeat(last)
    schedule.settle()


def jump(schedule: Schedule) -> None:
    """The wall clock is set."""
    ms = JUMPS_MS[schedule.choose(len(JUMPS_MS))]
    schedule.note(Kind.CLOCK_JUMP, text=f"{ms / 1000:+.0f} s")
    schedule.jump(ms)
    schedule.settle()


def database(schedule: Schedule) -> None:
    """The next statement, or the answer to it, is lost."""
    request = schedule.choose(2) == 1
    schedule.note(Kind.DATABASE, text="the next statement is lost" if request else "the answer to the next one is lost")
    place = "memory.before_apply" if request else "memory.after_apply"
    with failpoints.armed(place, StoreUnavailable("chosen by the schedule")):
        go_on(schedule)
        schedule.settle()


def stall(schedule: Schedule) -> None:
    """The process stands still for longer than its lease, perhaps in the middle of what happens next; it may go on as soon
    as another one has taken over."""
    chosen = schedule.choose(2 * TURNS)
    turns, goes_on = _turns(chosen // 2), chosen % 2 == 1
    process = schedule.process
    if turns:
        go_on(schedule)
        process.loop.settle(turns)
    schedule.note(Kind.STALL)
    schedule.stalls += 1
    process.frozen = True
    schedule.pass_lease()
    schedule.open()
    schedule.settle()
    if goes_on:
        wake(schedule)


def wake(schedule: Schedule) -> None:
    """The process that stood still goes on, and does not know."""
    for process in schedule.processes:
        if process.frozen:
            schedule.note(Kind.WAKE, process=process.number)
            process.frozen = False
            process.take_activities()  # its workers have had time enough
            process.loop.ring()
    schedule.settle()


def deploy(schedule: Schedule) -> None:
    """Workers with other code take over."""
    process = schedule.process
    schedule.note(Kind.NEW_CODE)
    schedule.kill(process)
    schedule.take_new_code()
    schedule.open()
    schedule.settle()


def busy(schedule: Schedule) -> None:
    """Nobody takes activities for a while."""
    starve(schedule, full=schedule.choose(2) == 1)


def starve(schedule: Schedule, *, full: bool) -> None:
    """Until one that waits has timed out, or the next alarm if none can. ``full``: there are workers, without a free slot."""
    schedule.note(Kind.WORKERS_BUSY)
    schedule.busy = STARVED_MAX
    schedule.process.starve_activities(full=full)
    schedule.settle()


def _free(schedule: Schedule) -> None:
    schedule.process.take_activities()
    schedule.busy = 0
