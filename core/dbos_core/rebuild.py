"""Rebuild: from a run's journal to an interpreter that has seen all of it.

Two occasions. This process takes a run up (:func:`restore`): what the run waits for is folded from the replayed
decisions and armed again. Or only the interpreter was dropped, by eviction or since an activation was undone
(:func:`rebuild`): everything else that this process knows of the run still holds.

Where the code does not follow the journal any more the replay fails, and is tried again later. Some want such a run to
fail instead (``TaskFailure.misfit``). That is due when something happens to it: a run that is taken up without need waits
on, without an interpreter, for what its journal says that it waits for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dbos_core import kept
from dbos_core.activities.local import LocalSpec
from dbos_core.activities.spec import ActivitySpec
from dbos_core.checkpoint import raised
from dbos_core.commit import Commit, Entry, LoadedRun, Mail, Verdict
from dbos_core.errands.spec import Errand, ErrandKey
from dbos_core.failing import DoesNotFit, noted
from dbos_core.mailbox import CANCEL, UPDATE
from dbos_core.phase import Phase
from dbos_core.runner import Decision, Event, EventKind, Misfit, TaskFailure

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel
    from dbos_core.live_run import LiveRun

logger = logging.getLogger(__name__)

SLICE_S = 0.02
"""How long a replay may keep the event loop: a long journal must not hold up the neighbours."""


CLOCKS_MS = 200
"""So much earlier than it should a delayed run may begin: our clock is not the database's."""


class Pending:
    """What a run still waits for, folded from its replayed decisions."""

    def __init__(self) -> None:
        self.timers: dict[int, int] = {}
        self.activities: dict[int, ActivitySpec] = {}
        self.cancel_requested: set[int] = set()
        self.errands: dict[ErrandKey, Errand] = {}
        self.locals: dict[int, LocalSpec] = {}
        self.cancel_local: set[int] = set()
        self.unfinished = False

    def fold(self, decision: Decision) -> None:
        self.unfinished = decision.unfinished
        for seq in decision.consumed_timers:
            self.timers.pop(seq, None)
        for seq in decision.consumed_activities:
            self.activities.pop(seq, None)
        for key in decision.consumed_errands:
            self.errands.pop(key, None)
        self.errands.update((errand.key, errand) for errand in decision.errands)
        for spec in decision.schedule:
            self.activities[spec.seq] = spec
        self.timers.update(decision.start_timers)
        for seq in decision.cancel_timers:
            self.timers.pop(seq, None)
        self.cancel_requested.update(decision.cancel_activities)
        for seq in (*decision.try_cancel_activities, *decision.abandon_activities):
            self.activities.pop(seq, None)
        for seq in decision.consumed_locals:
            self.locals.pop(seq, None)
        for local in decision.schedule_local:
            self.locals[local.seq] = local
        self.cancel_local.update(decision.cancel_local)
        for seq in (*decision.try_cancel_local, *decision.abandon_local):
            self.locals.pop(seq, None)


async def restore(kernel: Kernel, run: LiveRun, loaded: LoadedRun) -> None:
    """Take up a run from its journal: replay, then arm what is pending, then whatever mail waits."""
    run.phase = Phase.LOADING
    pending = Pending()
    if run.row.task_failure is not None and noted(run.row, _last(loaded.entries)) is None:
        run.fails_no_more()  # the journal has gone on since; the process that saw to it died before it said so
    failure = await _replay(kernel, run, loaded.entries, pending)
    if failure is not None and failure.misfit is not None:
        pending = Pending()
        await _as_recorded(kernel, run, loaded.entries, failure.misfit, pending)
        logger.warning("%r waits for its next task, with which it fails: %s", run, failure.message)
    elif failure is not None:
        _failed(kernel, run, loaded.entries, failure)
    if run.phase is not Phase.LOADING:
        return
    run.activities = pending.activities
    run.errands = pending.errands
    mail = [*loaded.mail, *(run.early_mail or ())]
    run.early_mail = None
    if not loaded.entries and _too_late(kernel, run):
        return  # its alarm has rung, and ends it
    if not loaded.entries and _too_early(kernel, run, mail):
        await _put_back(kernel, run, mail)
        return
    ended = kept.ended(mail)
    kernel.activities.restore(
        run.row,
        [spec for seq, spec in pending.activities.items() if seq not in ended],
        [row for row in loaded.activities if row.seq not in ended],
        cancel_requested=pending.cancel_requested,
        mail=mail,
    )
    run.locals.restore(run, pending.locals.values(), pending.cancel_local)
    for seq, due_ms in pending.timers.items():
        run.arm(seq, due_ms)
    if not loaded.entries:
        run.inbox.insert(0, Event(EventKind.START))
    elif pending.unfinished:
        run.inbox.insert(0, Event(EventKind.RESUME))
    for message in mail:
        run.add_mail(message)
    run.mail_high_ms = max(run.mail_high_ms, loaded.run.last_mail_ms)
    kernel.errands.perform(run, list(run.errands.values()), again=True)
    if not run.inbox:
        run.fails_no_more()  # what failed was the replay, or is not due
    run.ready()


def _too_late(kernel: Kernel, run: LiveRun) -> bool:
    """A delay may be longer than all the time that a run has: nothing begins that is over."""
    return run.row.deadline_ms is not None and run.row.deadline_ms <= kernel.clock.now_ms()


def _too_early(kernel: Kernel, run: LiveRun, mail: list[Mail]) -> bool:
    """Plain messages do not shorten the delay with which a run begins; a cancel request and an update do."""
    if any(message.topic in (CANCEL, UPDATE) for message in mail):
        return False
    return run.row.execution_ms - kernel.clock.now_ms() > CLOCKS_MS


async def _put_back(kernel: Kernel, run: LiveRun, mail: list[Mail]) -> None:
    """Let go of a run that is to begin later; unless newer mail came, then look at it again."""
    seen_ms = max([message.created_ms for message in mail], default=0)
    run.phase = Phase.COMMITTING
    verdict = await kernel.writer.write(
        Commit(
            workflow_uuid=run.row.workflow_uuid,
            park_until_ms=run.row.execution_ms,
            mail_seen_ms=seen_ms,
            mail_left=tuple(message.mail_id for message in mail),
        )
    )
    if run.phase is Phase.GONE:
        return
    run.gone()
    if verdict is Verdict.COMMITTED:
        kernel.run_parked(run, waiting=False)
    else:
        kernel.run_lost(run, verdict)


async def rebuild(kernel: Kernel, run: LiveRun) -> None:
    """Replay the journal into a fresh interpreter; everything else that we know of the run stays."""
    try:
        loaded = await kernel.load(run.row.workflow_uuid)
    except Exception:
        logger.exception("%r cannot be loaded; it is released", run)
        loaded = None
    if run.phase is Phase.GONE:
        return
    if loaded is None or loaded.run.owner != kernel.process_id:
        run.gone()
        kernel.run_lost(run, Verdict.CLAIM_LOST)
        return
    failure = await _replay(kernel, run, loaded.entries, None)
    misfit = failure.misfit if failure is not None else None
    if misfit is not None:
        await _as_recorded(kernel, run, loaded.entries, misfit, None)
    elif failure is not None:
        _failed(kernel, run, loaded.entries, failure)
    if run.phase is not Phase.LOADING:
        return
    for message in loaded.mail:
        run.add_mail(message)
    run.mail_high_ms = max(run.mail_high_ms, loaded.run.last_mail_ms)
    if failure is not None and misfit is not None:
        if run.inbox:
            run.activate(misfit.end)
            return
        run.tell_settled(DoesNotFit(failure.message))
    run.ready()


async def _replay(kernel: Kernel, run: LiveRun, entries: list[Entry], pending: Pending | None) -> TaskFailure | None:
    """Feed the journal. The failure, if the replay fails; nothing more is to be done if the run is gone."""
    interpreter = run.interpreter = run.runner.open(run.row, run.inputs)
    loop_time = kernel.loop.time
    slice_end = loop_time() + SLICE_S
    for entry in entries:
        try:
            decision = interpreter.replay(entry)
            if not isinstance(decision, Decision):
                decision = await decision
        except Exception as error:
            logger.exception("the runner raised while replaying %r", run)
            decision = raised(error)
        if loop_time() > slice_end:
            await kernel.breathe()
            slice_end = loop_time() + SLICE_S
        if run.phase is Phase.GONE:
            return None
        if decision.failure is not None:
            run.drop_interpreter()
            return decision.failure
        _seen(run, entry, decision, pending)
    return None


async def _as_recorded(
    kernel: Kernel, run: LiveRun, entries: list[Entry], misfit: Misfit, pending: Pending | None
) -> None:
    """Read the journal without the code, which does not follow it."""
    slice_end = kernel.loop.time() + SLICE_S
    for entry in entries:
        _seen(run, entry, misfit.recorded(entry), pending)
        if kernel.loop.time() > slice_end:
            await kernel.breathe()
            slice_end = kernel.loop.time() + SLICE_S


def _seen(run: LiveRun, entry: Entry, decision: Decision, pending: Pending | None) -> None:
    run.position = entry.position
    run.history_length = run.row.history_length = decision.history_length
    run.last_at_ms = max(run.last_at_ms, decision.at_ms)
    if pending is not None:
        pending.fold(decision)


def _failed(kernel: Kernel, run: LiveRun, entries: list[Entry], failure: TaskFailure) -> None:
    delay_ms = run.count_failure(failure, _last(entries), kernel.clock.now_ms())
    logger.warning(
        "replay of workflow %r run %s fails after position %d (%s): %s. It is tried again in %d ms",
        run.row.workflow_id,
        run.row.run_id,
        run.position,
        failure.cause,
        failure.message,
        delay_ms,
    )

    def start_over() -> None:
        """From the store: the code may have been mended meanwhile."""
        run.gone()
        newest = run.failing.failure if run.failing is not None else None
        kernel.run_lost(run, Verdict.POSITION_LOST, run.row.task_attempt, newest)

    run.try_again(delay_ms, start_over)


def _last(entries: list[Entry]) -> int:
    """Position of the newest entry."""
    return entries[-1].position if entries else 0
