"""Free run: the core drives a workflow by itself, and only the world around it is recorded.

The core's kernel runs it on a store in memory: its own first task, its own timers, its own end. Whatever it asks of the
world is answered from the record, matched by type and occurrence, or by the user's stubs. Messages arrive at their recorded
place: what one recorded task was shown comes together, after all that came before it. Timers skip, in the recorded order;
those that were never recorded ring when nothing else can happen.

So a workflow that was ported by hand can be compared too: a map of names says who is who, and stubs answer for what is new.
The clock is the record's, and so is chance, but the code is not told that it is replaying.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from dbos_compat.bridge.guided import RecordedTask
from dbos_compat.convert.payloads import payloads
from dbos_compat.workbench import Workbench
from dbos_core.activities.local import LocalSpec
from dbos_core.commit import NewRun, UpdateRow
from dbos_core.kernel import Kernel
from dbos_core.live_run import LiveRun
from dbos_core.parking import Parking
from dbos_core.phase import Phase
from dbos_core.runner import Decision
from dbos_core.store.memory import MemoryStore
from dbos_core.testing.clock import VirtualClock, settle
from dbos_core.testing.entropy import SeededEntropy
from dbos_shadow.alike import alike_by
from dbos_shadow.allow import Allowances
from dbos_shadow.cut import unless_cut
from dbos_shadow.diff import NOTHING
from dbos_shadow.events_of import event_of, mail_of
from dbos_shadow.handless import HandlessRunner
from dbos_shadow.masks import FREE_RUN, Mask
from dbos_shadow.names import NameMap
from dbos_shadow.pairing import SAME
from dbos_shadow.past import Past, past
from dbos_shadow.reading.decoding import CannotDecode, decoded
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import compared
from dbos_shadow.retelling import step_of
from dbos_shadow.sources import history, journal
from dbos_shadow.stopped import before_the_stop
from dbos_shadow.stubs import Answer, Stub, Stubs
from dbos_shadow.telling import Telling
from dbos_shadow.trace import Trace
from dbos_shadow.undecided import not_comparable, undecided
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way

__all__ = ["free_run"]

logger = logging.getLogger("dbos_shadow")

_FOR_EVER_MS = 100 * 365 * 86_400_000
_TURNS_MAX = 10_000
"""So often may a run be answered by stubs between two things that were recorded."""
_TIMERS_MAX = 200
"""So many timers may ring behind the end of the record."""


async def free_run(
    recorded: Recorded,
    bench: Workbench,
    *,
    stubs: Mapping[str, Stub] | None = None,
    run_for_real: Mapping[str, Callable[..., Any]] | None = None,
    names: NameMap = SAME,
    allowances: Allowances = NOTHING,
    masks: Sequence[Mask] = FREE_RUN,
    headers_encoded: bool = False,
) -> Judgement:
    """Let the core run a recorded workflow by itself, and judge what it did.

    Args:
        recorded: as it was read.
        bench: the workflows, open. One free run at a time.
        stubs: answers by type of activity or child, as they are called now: a function of the arguments, or a value. They
            come before recorded results.
        run_for_real: activities whose own code shall run, by type. Everything else never runs.
        names: recorded names that are others now.
        allowances: differences that are accepted.
        masks: what may differ since an engine gives it.
        headers_encoded: the client encodes headers too (``HeaderCodecBehavior.CODEC``).

    Returns:
        a judgement, whatever happens. What has neither a recorded result nor a stub ends the run: INCONCLUSIVE with the
        reason NO_STUB and its name as the subject; nothing of it was run.
    """
    begun = time.perf_counter()
    answers = Stubs(stubs, run_for_real=run_for_real, converter=bench.data_converter)
    try:
        recorded = await decoded(recorded, bench.data_converter, namespace=bench.namespace, headers=headers_encoded)
        judgement = await _judged(recorded, bench, answers, names, allowances, masks)
    except CannotDecode as error:
        judgement = undecided(recorded, Reason.SEALED, str(error), subject=error.code, way=Way.FREE_RUN)
    except Exception as error:
        logger.exception("free run of workflow %r run %s failed", recorded.workflow_id, recorded.run_id)
        note = f"The shadow itself failed: {type(error).__name__}."
        judgement = undecided(recorded, Reason.FAILED, note, subject=type(error).__name__, way=Way.FREE_RUN)
    return replace(judgement, took_ms=(time.perf_counter() - begun) * 1000)


async def _judged(
    recorded: Recorded,
    bench: Workbench,
    stubs: Stubs,
    names: NameMap,
    allowances: Allowances,
    masks: Sequence[Mask],
) -> Judgement:
    expected = history.trace(
        recorded.events, workflow_id=recorded.workflow_id, run_id=recorded.run_id, closed=recorded.closed
    )
    called = names.workflows.get(expected.workflow_type, expected.workflow_type)
    nothing = not_comparable(recorded, expected, bench, way=Way.FREE_RUN, workflow_type=called)
    if nothing is not None:
        return nothing
    expected = names.renamed(expected)
    found = past(recorded.events)
    started = WorkflowExecutionStartedEventAttributes()
    started.CopyFrom(found.started)
    started.workflow_type.name = expected.workflow_type
    run = _FreeRun(replace(found, started=started), bench, recorded, names, stubs)
    actual = await run.drive()
    judged = compared(
        expected,
        actual,
        way=Way.FREE_RUN,
        failure=run.made.failure,
        allowances=allowances,
        masks=masks,
        alike=alike_by(bench.data_converter.payload_converter),
        events=len(recorded.events),
    )
    if run.endless:
        note = "On the core the run came to no end, though the recorded one did, and was stopped."
        return replace(judged, verdict=Verdict.MISMATCH, note=note)
    if judged.verdict is Verdict.MISMATCH and run.made.reset:
        note = "The run was reset: from there on its random numbers are others, and a run by itself cannot know."
        return replace(judged, verdict=Verdict.INCONCLUSIVE, reason=Reason.RESET, note=note)
    if run.missing:
        note = (
            f"{run.missing} has neither a recorded result nor a stub. It was not executed; the run was stopped there. Give "
            "a stub for it."
        )
        assert judged.comparison is not None  # both sides were there
        comparison = before_the_stop(judged.comparison, led=False)
        return replace(
            judged,
            verdict=Verdict.MISMATCH if comparison.differences else Verdict.INCONCLUSIVE,
            reason=None if comparison.differences else Reason.NO_STUB,
            comparison=comparison,
            note=note,
            subject=run.missing.partition(" ")[2],
        )
    return unless_cut(judged, recorded)


class _StaysHere(Parking):
    """The run of a free run never leaves memory, however far the clock jumps."""

    def _park(self, run: LiveRun, now_ms: int) -> None:
        """It stays."""


class _FreeRun(Telling):
    """One free run: the record is told to a kernel that goes on by itself in between."""

    def __init__(self, found: Past, bench: Workbench, recorded: Recorded, names: NameMap, stubs: Stubs) -> None:
        super().__init__(found, recorded.workflow_id, recorded.run_id, names)
        self.missing = ""
        """What the run could not go on without, for people."""
        self.endless = False
        """It went on and on, and was stopped."""
        self._bench = bench
        self._names = names
        self._stubs = stubs
        self._clock = VirtualClock(self.made.run.start_ms)
        row = self.made.run
        self._runner = HandlessRunner(bench.runner, row.run_id, row.task_queue, found.first.event_time)
        self._kernel: Kernel
        self._run: LiveRun | None = None
        self._events = {event.event_id: event for task in found.tasks for event in task.commands}
        self._locals_by_seq: dict[int, LocalSpec] = {}
        self._stubbed: set[int] = set()
        """Recorded steps for which a stub has answered."""
        self._questions: list[tuple[str, str, dict[str, Any]]] = []
        """Kind, type and request of what a stub is to answer."""
        self._open: dict[tuple[str, int], str] = {}
        """Requests that wait for an answer: kind and seq → label."""

    @property
    def over(self) -> bool:
        return super().over or bool(self.missing) or self.endless

    async def drive(self) -> Trace:
        """From the start to where nothing more can happen. The core's trace."""
        kernel = self._kernel = await Kernel.open(
            MemoryStore(self._clock),
            identity="dbos-compat free run",
            application_version="1",
            clock=self._clock,
            entropy=SeededEntropy(self.made.run.run_id),
            lease_ms=_FOR_EVER_MS,
        )
        kernel.parking = _StaysHere(kernel)
        recorded_patches = {patch for task in self._past.tasks for patch in task.patches}
        self._bench.runner.host.decide_patches(recorded_patches.__contains__)
        kernel.serve(self._runner)
        try:
            for task in self._past.tasks:
                await self.task(task)
                if self.over:
                    break
            if self._past.ended is not None and not self._past.ended_from_outside:
                await self._to_the_end()
            self.end()
            loaded = await kernel.load(self.made.run.workflow_uuid)
            entries = [] if loaded is None else [json.loads(entry.record) for entry in loaded.entries]
            return journal.trace_of(self.made.run, self.made.started, entries)
        finally:
            self._bench.runner.host.decide_patches(None)
            await kernel.close()

    # -- the record is told ----------------------------------------------------------------------------------------

    def _tell(self, told: RecordedTask, event: HistoryEvent) -> None:
        if step_of(event) not in self._stubbed:
            super()._tell(told, event)

    async def _follow(self, told: RecordedTask) -> None:
        if not told.events:
            return
        self._runner.hint = told
        if told.at_ms > self._clock.now_ms():
            self._clock.jump(told.at_ms - self._clock.now_ms())
        records = [self._renamed(json.loads(text)) for text in told.events]
        if self._run is None:
            await self._start([record for record in records if record["k"] != "start"])
        else:
            self._deliver(records)
        await self._goes_on()

    def _renamed(self, record: dict[str, Any]) -> dict[str, Any]:
        """Messages come under the names of now."""
        if record["k"] == "signal":
            record["name"] = self._names.name("signal", record["name"])
        elif record["k"] == "update":
            record["m"]["name"] = self._names.name("update", record["m"]["name"])
        elif record["k"] == "local":
            record["type"] = self._names.name("local_activity", record["type"])
        return record

    async def _start(self, messages: list[dict[str, Any]]) -> None:
        """The first task: the start, and what came with it."""
        row, made = self.made.run, self.made
        new = NewRun(
            workflow_uuid=row.workflow_uuid,
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            first_run_id=row.first_run_id,
            workflow_type=row.workflow_type,
            task_queue=row.task_queue,
            inputs=made.inputs,
            native=made.started,
            start_ms=row.start_ms,
            execution_ms=row.start_ms,
            claimed=True,
            memo=row.memo,
            search_attributes=row.search_attributes,
            metadata=row.metadata,
        )
        mail = [replace(mail_of(record, row.workflow_uuid), created_ms=0) for record in messages]
        updates = [UpdateRow(update_id=r["m"]["update_id"], stage=1) for r in messages if r["k"] == "update"]
        await self._kernel.start(new, derived_uuid=row.workflow_uuid, terminate_record="{}", mail=mail, updates=updates)
        self._run = self._kernel.live(row.workflow_uuid)

    def _deliver(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Let these happen to the run, together."""
        run = self._run
        if run is None or run.phase is Phase.GONE:
            return
        for record in records:
            _, alarm = run.timers.pop(record["seq"], (0, None)) if record["k"] == "timer" else (0, None)
            if alarm is not None:
                alarm.cancel()
            self._open.pop((_OPEN_AS.get(record.get("e", record["k"]), record["k"]), _seq(record)), None)
            run.inbox.append(event_of(record, self.made.run.workflow_uuid, self._locals_by_seq))
        run.poke()

    # -- the core goes on by itself --------------------------------------------------------------------------------

    async def _goes_on(self) -> None:
        """Until it waits for something that only the record can bring."""
        for _ in range(_TURNS_MAX):
            await self._quiet()
            for decision in self._runner.decisions:
                self._decided(decision)
            self._runner.decisions.clear()
            if self.over or not self._questions:
                return
            questions, self._questions = self._questions, []
            answered: list[dict[str, Any]] = []
            for kind_, name, request in questions:
                answered += await self._answered(kind_, name, request)
            self._deliver(answered)
        self.endless = True

    async def _quiet(self) -> None:
        while True:
            await settle()
            run = self._run
            if run is None or not run.busy:
                return

    def _decided(self, decision: Decision) -> None:
        made = self.made
        if decision.failure is not None:
            made.failure = decision.failure
            return
        made.run.memo = decision.memo if decision.memo is not None else made.run.memo
        if decision.search_attributes is not None:
            made.run.search_attributes = decision.search_attributes
        for spec in decision.schedule_local:
            self._locals_by_seq[spec.seq] = spec
        if decision.record is not None:
            record = json.loads(decision.record)
            made.records.append(record)
            made.entries.append((decision.name, decision.record))
            self._asked(record["cmds"])
            self._ask(record["cmds"])
        if decision.close is not None:
            made.close = decision.close

    def _ask(self, commands: Sequence[dict[str, Any]]) -> None:
        """What of these requests is for a stub, and what for nobody."""
        unsent = {(c["k"].removeprefix("cancel_"), c["seq"]) for c in commands if c["k"] in _CANCELS}
        for command in commands:
            what = command["k"]
            if what in _CANCELS:
                self._open.pop((_CANCELS[what], command["seq"]), None)
            if what not in _ANSWERED or (_SHORT.get(what, what), command["seq"]) in unsent:
                continue
            key = what, command["seq"]
            partner = self._pairing.partners.get(key)
            name = command["type"] if "type" in command else command.get("name", "")
            if what in ("signal_external", "cancel_external"):
                if partner is None:
                    self._questions.append((what, name, command))
            elif self._stubs.has(name):
                if partner is not None:
                    self._stubbed.add(partner)
                self._questions.append((what, name, command))
            elif partner is None:
                self.missing = f"{_WORDS[what]} {name}"
                return
            else:
                self._open[key] = f"{_WORDS[what]} {name}"

    async def _answered(self, what: str, name: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The answer of a stub, as journal records."""
        seq = request["seq"]
        if what in ("signal_external", "cancel_external"):  # nobody is there, and nobody will know
            return [{"k": "errand", "e": what.removesuffix("_external"), "seq": seq}]
        answer: Answer = await self._stubs.answer(name, payloads(request["in"]))
        record = json.loads(answer.record)
        how = answer.kind.value
        if what == "activity":
            retry = {"retry": 1} if how == "failed" else {}
            at = {"att": 1, "st": self._clock.now_ms()}
            return [{"k": "activity", "seq": seq, "o": how, "r": record, **retry, **at}]
        if what == "local_activity":
            self._locals.pop(seq, None)
            return [{"k": "local", "seq": seq, "id": request["id"], "type": name, "o": how, "r": record, "att": 1}]
        part = {"completed": "r", "failed": "f", "canceled": "d"}[how]
        run_id = f"stub of {request['id']}"
        message = {"seq": seq, "first_run_id": run_id, "run_id": run_id, "o": how, part: record, "retry": 0}
        return [
            {"k": "errand", "e": "child", "seq": seq, "run": run_id},
            {"k": "child", "id": f"dc1:stub:{seq}", "ms": self._clock.now_ms(), "m": message},
        ]

    async def _to_the_end(self) -> None:
        """The record has come to its end, and the run to none: what is late, then timers, the earliest first."""
        for _ in range(_TIMERS_MAX):
            if self.over:
                return
            run = self._run
            if self._due:
                told = self._runner.hint or RecordedTask(at=self._past.first.event_time)
                told = replace(told, events=[], event_ids=[])
                due, self._due = self._due, []
                for event in due:
                    self._tell(told, event)
                await self._follow(told)
            elif run is not None and run.phase is not Phase.GONE and run.timers:
                seq = min(run.timers, key=lambda seq: (run.timers[seq][0], seq))
                self._clock.jump(max(0, run.timers[seq][0] - self._clock.now_ms()))
                self._deliver([{"k": "timer", "seq": seq}])
                await self._goes_on()
            else:
                break
        else:
            self.endless = True
        if self._open and not self.over:
            self.missing = next(iter(self._open.values()))


_ANSWERED = frozenset({"activity", "local_activity", "child", "signal_external", "cancel_external"})
_CANCELS = {"cancel_activity": "activity", "cancel_local": "local_activity", "cancel_child": "child"}
_SHORT = {"local_activity": "local"}
_OPEN_AS = {"local": "local_activity"}
_WORDS = {"activity": "activity", "local_activity": "activity", "child": "workflow"}


def _seq(record: Mapping[str, Any]) -> int:
    found = record["m"]["seq"] if record["k"] == "child" else record.get("seq", 0)
    return int(found)
