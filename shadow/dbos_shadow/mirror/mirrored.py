"""Mirrored: one run on both sides, from the first event of its history to what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from temporalio.api.history.v1 import HistoryEvent

from dbos_compat.bridge.guided import RecordedTask
from dbos_compat.workbench import Workbench
from dbos_core.commit import RunStatus
from dbos_core.kernel import Kernel
from dbos_core.runner import Decision
from dbos_shadow.alike import alike_by
from dbos_shadow.allow import Allowances
from dbos_shadow.masks import LED, Mask
from dbos_shadow.mirror.following import join
from dbos_shadow.mirror.muted import Beginning, Heard
from dbos_shadow.mirror.shadow_run import ShadowRun
from dbos_shadow.past import Past, PastReader
from dbos_shadow.reading.decoding import Decoder, has_effect
from dbos_shadow.replay import compared
from dbos_shadow.select import features_of, shape_of
from dbos_shadow.sources import history
from dbos_shadow.telling import Telling
from dbos_shadow.trace import Trace
from dbos_shadow.undecided import NO_TASK, no_code_has_run
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way

__all__ = ["Mirrored", "Rules"]

logger = logging.getLogger("dbos_shadow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How runs are judged."""

    allowances: Allowances
    masks: Sequence[Mask] = LED
    headers_encoded: bool = False
    prefix: str = "shadow-"


class Mirrored:
    """Give it events as they come (``add``), then ask for the verdict (``judgement``)."""

    def __init__(
        self,
        workflow_id: str,
        run_id: str,
        *,
        bench: Workbench,
        kernel: Kernel,
        heard: dict[str, Heard],
        serve: Callable[[str], None],
        rules: Rules,
    ) -> None:
        """
        Args:
            heard: what the kernel's runners know of runs; this one's entry is made here, and removed by ``leave``.
            serve: sees to it that the kernel runs workflows of a task queue.
        """
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = ""
        self._bench = bench
        self._kernel = kernel
        self._all_heard = heard
        self._serve = serve
        self._rules = rules
        self._events: list[HistoryEvent] = []
        self._decoder: Decoder | None = None
        if has_effect(bench.data_converter):
            self._decoder = Decoder(
                workflow_id, run_id, bench.data_converter, namespace=bench.namespace, headers=rules.headers_encoded
            )
        self._reader: PastReader | None = None
        self._telling: _Telling | None = None
        self._told = 0
        self._actual: Trace | None = None
        """What the core has made of it, once there is nothing more to tell."""

    @property
    def events(self) -> int:
        """How many of its history are known."""
        return len(self._events)

    @property
    def known(self) -> bool:
        """Is there a workflow of this type? False until the first event is there."""
        return bool(self.workflow_type) and self._bench.knows(self.workflow_type)

    async def add(self, events: Sequence[HistoryEvent]) -> None:
        """The next events of the history: the core takes the tasks among them."""
        if self._decoder is not None:
            events = await self._decoder.events(events)
        join(self._events, events)
        if self._reader is None:
            if not events:
                return
            self._reader = PastReader(events[0])
            self.workflow_type = self._reader.past.started.workflow_type.name
            if self.known:
                self._telling = _Telling(self._reader.past, self)
        self._reader.add(events)
        if self._telling is not None and self._actual is None:
            await self._tell(self._telling, self._reader.past)

    async def _tell(self, telling: _Telling, past: Past) -> None:
        if self._told == 0 and past.tasks:
            self._serve(past.started.task_queue.name)
            if await telling.shadow.ended_by_itself():
                self._actual = await telling.shadow.trace()  # journalled before we were here
                return
        while self._told < len(past.tasks) and not telling.over:
            task = past.tasks[self._told]
            telling.expect(task)
            await telling.task(task)
            self._told += 1
        if telling.over:
            await self._stopped(telling)

    async def _stopped(self, telling: _Telling) -> None:
        """The core is through with the run, whatever Temporal has still to record."""
        self._actual = await telling.shadow.trace()
        failure = telling.made.failure
        if failure is not None:
            logger.warning(
                "the shadow of workflow %r run %s stops: a task failed on the core (%s)",
                self.workflow_id,
                self.run_id,
                failure.cause,
            )
            await telling.shadow.stop()

    async def judgement(self) -> Judgement:
        """Temporal has closed the run, and all of its history was added: what is said of it."""
        expected = history.trace(self._events, workflow_id=self.workflow_id, run_id=self.run_id, closed=True)
        if expected.incomplete is not None:
            found = self.nothing(Verdict.INCONCLUSIVE, Reason.TRUNCATED, expected.incomplete.reason)
            return replace(found, subject=expected.incomplete.code, expected=expected)
        if not self.known:
            note = f"No workflow of type {self.workflow_type!r} was given to the mirror's worker."
            return replace(self.nothing(Verdict.NOT_RUN, Reason.UNKNOWN_TYPE, note), subject=self.workflow_type)
        assert self._telling is not None  # the type is known
        if no_code_has_run(self._events):
            found = self.nothing(Verdict.NOT_RUN, Reason.NO_TASK, NO_TASK)
            return replace(found, subject="no_task", expected=expected)
        if self._actual is None:
            self._actual = await self._at_the_end(self._telling)
        found = compared(
            expected,
            self._actual,
            way=Way.MIRROR,
            failure=self._telling.made.failure,
            allowances=self._rules.allowances,
            masks=self._rules.masks,
            alike=alike_by(self._bench.data_converter.payload_converter),
            events=self.events,
        )
        found = replace(found, shape=shape_of(expected), features=features_of(expected))
        return named(found, self._telling.never_recorded)

    async def _at_the_end(self, telling: _Telling) -> Trace:
        await telling.what_is_late()
        telling.end()
        run = telling.made.run
        if self._told == 0:
            return telling.made.trace  # it ended before its first workflow task: there was nothing to take
        if telling.made.close is None and run.status is not RunStatus.RUNNING:
            await telling.shadow.end(run.status, run.close or "{}")
        return await telling.shadow.trace()

    async def leave(self, *, keep: bool) -> None:
        """Nothing more is done with it. ``keep``: its journal stays in the store, for people."""
        self._all_heard.pop(self.run_id, None)
        if self._telling is None or (self._told == 0 and self._actual is None):
            return
        if keep:
            await self._telling.shadow.stop()
        else:
            await self._telling.shadow.forget()

    def nothing(self, verdict: Verdict, reason: Reason, note: str) -> Judgement:
        """A verdict without a comparison."""
        return Judgement(
            workflow_type=self.workflow_type,
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            verdict=verdict,
            way=Way.MIRROR,
            reason=reason,
            note=note,
            events=self.events,
        )

    def begin(self, past: Past, telling: Telling) -> ShadowRun:
        """The core's side of it."""
        beginning = Beginning(
            row=telling.made.run, inputs=telling.made.inputs, started=past.started, at=past.first.event_time
        )
        heard = self._all_heard.setdefault(self.run_id, Heard())
        return ShadowRun(self._kernel, heard, beginning, self._rules.prefix)


class _Telling(Telling):
    """Temporal's record, told to a run of the kernel."""

    def __init__(self, past: Past, mirrored: Mirrored) -> None:
        super().__init__(past, mirrored.workflow_id, mirrored.run_id)
        self.shadow = mirrored.begin(past, self)

    async def take(self, told: RecordedTask) -> Decision:
        return await self.shadow.take(told)


def named(judgement: Judgement, never_recorded: Sequence[str]) -> Judgement:
    """With a note that names the first activity that the core asked for and Temporal never did, if there is one."""
    if judgement.verdict is not Verdict.MISMATCH or judgement.note or not never_recorded:
        return judgement
    name = never_recorded[0]
    note = (
        f"The core asked for activity {name!r}, which Temporal has no record of. It was not executed: the shadow of the "
        "run waited for it in vain."
    )
    return replace(judgement, note=note, subject=name)
