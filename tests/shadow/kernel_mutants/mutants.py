"""Kernels with a bug, each made by changing one method of the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from dbos_compat.bridge.runner import TemporalInterpreter
from dbos_compat.relations import TemporalRelations
from dbos_compat.service import signal as signal_service
from dbos_core import mailbox, rebuild
from dbos_core.activities.carrier import Carrier
from dbos_core.activities.lanes import TaskQueue
from dbos_core.activities.service import ActivityService
from dbos_core.claims import Claims
from dbos_core.commit import Verdict
from dbos_core.errands.service import Errands
from dbos_core.live_run import LiveRun
from dbos_core.locals import Locals
from dbos_core.phase import Phase
from dbos_core.retry import RetryAt
from dbos_core.runner import EventKind
from dbos_core.store import memory_flush
from dbos_core.store.memory import MemoryStore
from dbos_core.store.memory_tables import Run, Tables
from dbos_core.writer import CheckpointWriter

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    """``apply`` makes it; ``plan`` names the program that shows it."""

    name: str
    plan: str
    apply: Callable[[Patch], None]


MUTANTS: list[Mutant] = []


def mutant(plan: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def add(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTANTS.append(Mutant(apply.__name__, plan, apply))
        return apply

    return add


def around(patch: Patch, owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Put ``change(original, *args)`` in a method's place."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **more: change(original, *args, **more))


# -- the store ---------------------------------------------------------------------------------------------------------


@mutant("steps")
def skips_the_fence(patch: Patch) -> None:
    patch.setattr(Run, "owned_by", lambda run, process_id: run.open)


@mutant("steps")
def writes_over_a_position_that_is_taken(patch: Patch) -> None:
    def fenced(original: Any, tables: Any, process_id: str, commit: Any, run: Any, again: bool, now_ms: int) -> Verdict:
        if run is not None and run.open:
            memory_flush._apply(tables, process_id, run, commit, now_ms)
            return Verdict.COMMITTED
        found: Verdict = original(tables, process_id, commit, run, again, now_ms)
        return found

    around(patch, memory_flush, "_fenced", fenced)


@mutant("steps")
def drops_a_journal_row(patch: Patch) -> None:
    def apply(original: Any, tables: Any, process_id: str, run: Any, commit: Any, now_ms: int) -> None:
        original(tables, process_id, run, commit, now_ms)
        if commit.entry is not None and commit.entry.position == 2:
            del run.journal[2]

    around(patch, memory_flush, "_apply", apply)


@mutant("waits")
def closes_over_a_signal_that_waits(patch: Patch) -> None:
    patch.setattr(memory_flush, "_refused_by_mail", lambda run, commit: False)


@mutant("listens")
def leaves_mail_unconsumed(patch: Patch) -> None:
    def apply(original: Any, tables: Any, process_id: str, run: Any, commit: Any, now_ms: int) -> None:
        commit.consumed = ()
        original(tables, process_id, run, commit, now_ms)

    around(patch, memory_flush, "_apply", apply)


@mutant("listens")
def does_not_know_an_update_again(patch: Patch) -> None:
    count = iter(range(1_000_000))

    async def admit(original: Any, store: Any, uuid: str, update_id: str, mail: Any, *, watch: bool = False) -> Any:
        run = store.tables.runs.get(uuid)
        if run is not None:
            run.updates.pop(update_id, None)
        mail.mail_id += f":{next(count)}"
        return await original(store, uuid, update_id, mail, watch=watch)

    around(patch, MemoryStore, "admit_update", admit)


@mutant("waits")
def does_not_wake_a_parked_run_for_mail(patch: Patch) -> None:
    def add_mail(original: Any, tables: Any, run: Any, mail: Any, now_ms: int) -> None:
        owner, run.row.owner = run.row.owner, run.row.owner or "somebody"
        original(tables, run, mail, now_ms)
        run.row.owner = owner

    around(patch, Tables, "add_mail", add_mail)


# -- the writer ----------------------------------------------------------------------------------------------------------


@mutant("steps")
def releases_effects_before_the_commit(patch: Patch) -> None:
    def submit(original: Any, writer: Any, commit: Any, done: Any) -> None:
        original(writer, commit, lambda verdict: None)
        done(Verdict.COMMITTED)

    around(patch, CheckpointWriter, "submit", submit)


@mutant("listens")
def acknowledges_before_the_commit(patch: Patch) -> None:
    async def write(original: Any, writer: Any, commit: Any) -> Verdict:
        if not commit.mail:
            found: Verdict = await original(writer, commit)
            return found
        writer.submit(commit, lambda verdict: None)
        return Verdict.COMMITTED

    around(patch, CheckpointWriter, "write", write)


@mutant("steps")
def takes_a_lost_request_for_written(patch: Patch) -> None:
    from dbos_core.errors import StoreUnavailable

    async def flush(original: Any, store: Any, process_id: str, commits: Sequence[Any], *, again: bool) -> Any:
        try:
            return await original(store, process_id, commits, again=again)
        except StoreUnavailable:
            return [Verdict.COMMITTED] * len(commits)

    around(patch, MemoryStore, "flush", flush)


# -- messages ------------------------------------------------------------------------------------------------------------


@mutant("listens")
def delivers_a_message_twice(patch: Patch) -> None:
    def add_mail(original: Any, run: Any, message: Any) -> None:
        original(run, message)
        if run.inbox and run.inbox[-1].mail is message:
            run.inbox.append(run.inbox[-1])

    around(patch, LiveRun, "add_mail", add_mail)


@mutant("listens")
def reads_signals_in_the_wrong_order(patch: Patch) -> None:
    def loaded(original: Any, run: Any) -> Any:
        found = original(run)
        found.mail.reverse()
        return found

    around(patch, Run, "loaded", loaded)


@mutant("listens")
def gives_a_repeated_signal_another_id(patch: Patch) -> None:
    count = iter(range(1_000_000))

    def mail(original: Any, **fields: Any) -> Any:
        made = original(**fields)
        made.mail_id += f":{next(count)}"
        return made

    around(patch, signal_service, "signal_mail", mail)


@mutant("steps")
def forgets_a_cancel_request(patch: Patch) -> None:
    def add_mail(original: Any, run: Any, message: Any) -> None:
        if message.topic != mailbox.CANCEL:
            original(run, message)

    around(patch, LiveRun, "add_mail", add_mail)


@mutant("listens")
def forgets_mail_when_a_run_is_taken_up(patch: Patch) -> None:
    async def restore(original: Any, kernel: Any, run: Any, loaded: Any) -> None:
        loaded.mail.clear()
        await original(kernel, run, loaded)

    original = rebuild.restore

    async def changed(kernel: Any, run: Any, loaded: Any) -> None:
        await restore(original, kernel, run, loaded)

    from dbos_core import claims

    patch.setattr(claims, "restore", changed)


# -- activities ----------------------------------------------------------------------------------------------------------


@mutant("steps")
def forgets_the_row_of_a_bounded_attempt(patch: Patch) -> None:
    around(patch, ActivityService, "schedule", lambda original, service, run, spec: original(service, run, spec) and [])


@mutant("steps")
def tries_for_ever(patch: Patch) -> None:
    def decide(original: Any, *args: Any, now_ms: int, **more: Any) -> Any:
        return RetryAt(now_ms + 1_000)

    from dbos_core.activities import activity_state

    around(patch, activity_state, "decide", decide)


@mutant("parallel")
def starts_an_attempt_twice(patch: Patch) -> None:
    def start(original: Any, carrier: Any, execution: Any) -> None:
        original(carrier, execution)
        execution.lane.executor.start(execution.attempt)

    around(patch, Carrier, "start_execution", start)


@mutant("parallel")
def loses_an_outcome(patch: Patch) -> None:
    patch.setattr(LiveRun, "deliver_outcome", lambda run, outcome: None)


@mutant("parallel")
def loses_an_outcome_that_comes_with_another(patch: Patch) -> None:
    def step(original: Any, run: Any) -> None:
        ended = [event for event in run.inbox if event.kind is EventKind.ACTIVITY]
        if run.phase is Phase.READY and len(ended) > 1:
            run.inbox.remove(ended[1])
        original(run)

    around(patch, LiveRun, "_step", step)


@mutant("parallel")
def delivers_an_outcome_twice(patch: Patch) -> None:
    def deliver(original: Any, run: Any, outcome: Any) -> None:
        original(run, outcome)
        original(run, outcome)

    around(patch, LiveRun, "deliver_outcome", deliver)


@mutant("parallel")
def mixes_up_outcomes(patch: Patch) -> None:
    def deliver(original: Any, run: Any, outcome: Any) -> None:
        others = [seq for seq in run.activities if seq != outcome.seq]
        if others and outcome.seq in run.activities:
            outcome.record = '{"j":99}'
        original(run, outcome)

    around(patch, LiveRun, "deliver_outcome", deliver)


@mutant("steps")
def does_not_begin_the_next_attempt(patch: Patch) -> None:
    def set_timer(original: Any, carrier: Any, machine: Any, effect: Any) -> None:
        if machine.attempt == 1:
            original(carrier, machine, effect)

    from dbos_core.activities import carrier as carriers
    from dbos_core.activities.effects import SetTimer

    before = carriers._HANDLERS[SetTimer]
    patch.setitem(carriers._HANDLERS, SetTimer, lambda c, m, e: set_timer(before, c, m, e))


@mutant("steps")
def starts_what_has_ended_after_recovery(patch: Patch) -> None:
    def fold(original: Any, pending: Any, decision: Any) -> None:
        decision.consumed_activities = []
        original(pending, decision)

    around(patch, rebuild.Pending, "fold", fold)


@mutant("steps")
def forgets_activities_after_recovery(patch: Patch) -> None:
    def fold(original: Any, pending: Any, decision: Any) -> None:
        original(pending, decision)
        pending.activities.clear()

    around(patch, rebuild.Pending, "fold", fold)


@mutant("locally")
def loses_the_end_of_a_local_activity(patch: Patch) -> None:
    def ended(original: Any, held: Any, run: Any, outcome: Any) -> None:
        held._open.pop(outcome.spec.seq, None)

    around(patch, Locals, "_ended", ended)


@mutant("locally")
def forgets_local_activities_after_recovery(patch: Patch) -> None:
    patch.setattr(Locals, "restore", lambda held, run, specs, cancel_requested: None)


@mutant("steps")
def does_not_look_at_what_waits_for_a_slot(patch: Patch) -> None:
    patch.setattr(TaskQueue, "pump", lambda queue: None)


# -- timers --------------------------------------------------------------------------------------------------------------


@mutant("steps")
def loses_a_timer(patch: Patch) -> None:
    patch.setattr(LiveRun, "arm", lambda run, seq, due_ms: None)


@mutant("steps")
def loses_timers_after_recovery(patch: Patch) -> None:
    def fold(original: Any, pending: Any, decision: Any) -> None:
        original(pending, decision)
        pending.timers.clear()

    around(patch, rebuild.Pending, "fold", fold)


@mutant("steps")
def rings_too_early(patch: Patch) -> None:
    around(patch, LiveRun, "arm", lambda original, run, seq, due_ms: original(run, seq, due_ms - 30_000))


# -- other runs ----------------------------------------------------------------------------------------------------------


@mutant("family")
def loses_the_end_of_a_child(patch: Patch) -> None:
    patch.setattr(Errands, "child_closed", lambda errands, run, message: None)


@mutant("family")
def forgets_to_tell_the_parent(patch: Patch) -> None:
    patch.setattr(TemporalRelations, "news", lambda relations, child: None)


@mutant("family")
def loses_the_reply_to_an_errand(patch: Patch) -> None:
    patch.setattr(Errands, "_replied", staticmethod(lambda run, reply: run.errands.pop(reply.key, None)))


@mutant("family")
def forgets_errands_after_recovery(patch: Patch) -> None:
    def fold(original: Any, pending: Any, decision: Any) -> None:
        original(pending, decision)
        pending.errands.clear()

    around(patch, rebuild.Pending, "fold", fold)


# -- queries -------------------------------------------------------------------------------------------------------------


@mutant("listens")
def answers_out_of_what_is_not_durable(patch: Patch) -> None:
    async def settle(original: Any, run: Any) -> Any:
        return run.interpreter or await original(run)

    async def flush(original: Any, *args: Any, **more: Any) -> Any:
        for _ in range(30):  # a database takes its time
            await asyncio.sleep(0)
        return await original(*args, **more)

    around(patch, LiveRun, "_settle", settle)
    around(patch, MemoryStore, "flush", flush)


# -- runs ----------------------------------------------------------------------------------------------------------------


@mutant("gambles")
def does_not_look_at_digests(patch: Patch) -> None:
    patch.setattr(TemporalInterpreter, "_mismatch", lambda interpreter, task, commands: None)


@mutant("steps")
def does_not_take_over(patch: Patch) -> None:
    async def adopt(claims: Any, workflow_uuids: list[str]) -> None:
        return None

    patch.setattr(Claims, "adopt", adopt)


@mutant("steps")
def replays_without_the_last_row(patch: Patch) -> None:
    def loaded(original: Any, run: Any) -> Any:
        found = original(run)
        if len(found.entries) > 1:
            found.entries.pop()
        return found

    around(patch, Run, "loaded", loaded)


@mutant("waits")
def parks_and_forgets_the_time(patch: Patch) -> None:
    def let_go(original: Any, tables: Any, run: Any, until_ms: int, now_ms: int) -> None:
        original(tables, run, until_ms if until_ms <= now_ms else 2**62, now_ms)

    around(patch, Tables, "let_go", let_go)
