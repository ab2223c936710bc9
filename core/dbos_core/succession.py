"""Succession: runs that follow each other under one workflow id, without a moment in which the id has no run.

The end of a run and the beginning of the next are one commit (``Close.successor``). Here is what a process does around
it: shall it own the next run, and how that run begins once the commit is answered. A process that dies in between
leaves a run of its own that has not begun; whoever takes over what it owned begins it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbos_core.commit import Close, Commit, LoadedRun, NewRun, Reset, RunRow, RunStatus, StartAnswer, Verdict, row_of
from dbos_core.errors import BadCommit
from dbos_core.failpoints import hit
from dbos_core.live_run import LiveRun
from dbos_core.runner import Event, EventKind
from dbos_core.writer import Done

if TYPE_CHECKING:
    from dbos_core.kernel import Kernel

OWNED_RUNS_MAX = 20_000
"""Above so many runs in memory a successor is left to be claimed, here or elsewhere."""


class Succession:
    """What one kernel does about runs that follow runs."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def submit(self, commit: Commit, done: Done) -> None:
        """Give a commit to the writer; if it closes a run that another one follows, see to that one afterwards."""
        close = commit.close
        successor = close.successor if close is not None else None
        if successor is None:
            self._kernel.writer.submit(commit, done)
            return
        self._expect(successor)

        def answered(verdict: Verdict | BadCommit) -> None:
            done(verdict)
            self._answered(successor, verdict)

        self._kernel.writer.submit(commit, answered)

    def _expect(self, new: NewRun) -> None:
        """Before the commit: shall this process own the run that follows?"""
        kernel, now_ms = self._kernel, self._kernel.clock.now_ms()
        if new.start_ms == new.execution_ms > now_ms:  # a clock was set back; nobody asked for a delay
            new.start_ms = new.execution_ms = now_ms
        here = new.execution_ms <= now_ms and len(kernel.live_runs) < OWNED_RUNS_MAX
        new.claimed = here and not kernel.closing and kernel.runner_for(new.task_queue, new.workflow_type) is not None
        if new.claimed:
            kernel.claims.expect(new.workflow_uuid)

    def _answered(self, new: NewRun, verdict: Verdict | BadCommit) -> None:
        """After the commit: go on with the run that follows, if it is there and ours."""
        claims = self._kernel.claims
        mail_came = new.claimed and claims.arrived(new.workflow_uuid)
        if verdict is Verdict.COMMITTED:
            hit("successor.committed")
            if new.claimed:
                self._begin(new, mail_came)
            else:
                self.due(new)
        elif verdict is Verdict.CLAIM_LOST and new.claimed:
            claims.doubt()  # an answer that was lost reads the same: the run may be there, and ours

    def _begin(self, new: NewRun, mail_came: bool) -> None:
        kernel, uuid = self._kernel, new.workflow_uuid
        if uuid in kernel.live_runs:
            return  # a look at what we own has found it first
        runner = kernel.runner_for(new.task_queue, new.workflow_type)
        if runner is None or kernel.closing:
            kernel.spawn(kernel.claims.let_go([uuid]), f"release {uuid}")
            return
        run = LiveRun(kernel, runner, row_of(new, kernel.process_id), new.inputs)
        run.interpreter = runner.open(run.row, run.inputs)
        kernel.live_runs[uuid] = run
        kernel.claims.watch_deadline(run)
        run.deliver(Event(EventKind.START))
        if mail_came:
            kernel.check_mail(uuid)

    def due(self, new: NewRun) -> None:
        """A run that nobody owns yet begins at a time that we know: be there in time if it is one for us."""
        kernel = self._kernel
        if kernel.serves(new.task_queue) and new.execution_ms > kernel.clock.now_ms():
            kernel.clock.call_at(new.execution_ms, kernel.claims.wake)


async def reset(kernel: Kernel, plan: Reset) -> StartAnswer | None:
    """Let a workflow go back to an earlier point (``Store.reset``)."""
    answer = await kernel.store.reset(kernel.process_id, plan)
    if answer is not None and answer.terminated is not None:
        kernel.closed_from_outside(answer.terminated, reaches_others=False)
    if answer is not None and plan.children:  # one may have told the run before of its end in this very moment
        kernel.spawn(kernel.errands.aftermath.reopened([answer.run.workflow_uuid]), f"children of {plan.new.run_id}")
    return answer


def timed_out(_loaded: LoadedRun, now_ms: int) -> Close:
    """The end of a run whose deadline has passed, when nobody knows more about it."""
    return Close(
        status=RunStatus.TIMED_OUT,
        close_ms=now_ms,
        record='{"kind":"timed_out"}',
        error='{"name":"TimeoutError","message":"workflow timeout"}',
        mail_seen_ms=None,
    )


def following(row: RunRow, *, run_id: str) -> NewRun:
    """A run that follows this one under the same id, with all that a chain of runs has in common. Whoever makes it says
    what it is to do and when."""
    return NewRun(
        workflow_uuid=f"{row.workflow_id}~{run_id}",
        workflow_id=row.workflow_id,
        run_id=run_id,
        first_run_id=row.first_run_id,
        workflow_type=row.workflow_type,
        task_queue=row.task_queue,
        inputs="",
        start_ms=0,
        execution_ms=0,
        claimed=False,
        metadata=row.metadata,
        parent=row.parent,
    )
