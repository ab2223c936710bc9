"""Durable: what was found in memory, on a real Postgres, with a real worker process that is really killed.

A schedule becomes a :class:`~dbos_shadow.determinism.durable_script.Script`. It is played in peace, where its ending has to
be the one that it has in memory, and once for each place at which the worker is killed (SIGKILL at a failpoint) and
another worker goes on. Where a kill changes the ending, what came to the workflow then is played once more, in peace: that
has to end the same. Temporal's ``Replayer`` has to accept every history.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from dbos_compat.connect import URL_VARIABLE
from dbos_compat.convert.payloads import payload
from dbos_compat.native_threads import outlive_native_threads
from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Decisions, Listed
from dbos_shadow.determinism.durable_mother import Mother
from dbos_shadow.determinism.durable_play import Play, Played, PlayFailed, Stuck, TaskFails
from dbos_shadow.determinism.durable_script import (
    Coming,
    Ending,
    LeftOut,
    Script,
    Told,
    comings,
    messages,
    script,
    script_of,
    wire,
)
from dbos_shadow.determinism.failure import DeterminismError, Rule
from dbos_shadow.determinism.inferred import inferred
from dbos_shadow.determinism.plan import Plan
from dbos_shadow.determinism.run import live
from dbos_shadow.determinism.silence import quiet
from dbos_shadow.determinism.singles import singles
from dbos_shadow.sources.messages import value
from dbos_shadow.trace import ArrivalKind, Status, Trace

PLACES: Sequence[tuple[str, int]] = (
    ("writer.before_flush", 1),
    ("writer.before_flush", 2),
    ("writer.after_flush", 1),
    ("writer.after_flush", 2),
    ("activity.before_start", 1),
    ("activity.before_report", 1),
)
"""Where the worker is killed, and at which passing. A place that a script does not pass is no harm."""
FURTHER: Sequence[tuple[frozenset[str], tuple[str, int]]] = (
    (frozenset({"timer completed"}), ("timer.ring", 1)),
    (frozenset({"signal completed", "update completed", "cancel completed"}), ("mail.received", 1)),
    (frozenset({"local_activity completed", "local_activity failed"}), ("local.after_run", 1)),
    (frozenset({"external_signaled completed", "external_signaled failed"}), ("errand.after", 1)),
    (frozenset({"external_canceled completed", "external_canceled failed"}), ("errand.after", 1)),
    (frozenset({"child_started completed"}), ("errand.after", 1)),
    (frozenset({"continued_as_new"}), ("successor.committed", 1)),
)
"""And where else, in scripts with one of these."""
SCRIPTS_MAX = 5
SEARCH_S = 3.0
SEARCH_DECISIONS = 60
"""How long scripts are looked for beside the corpus, and among how many choices."""
CHANCE = 4
"""So often more a play is repeated before its ending is held against somebody: it may follow from chance."""
_OWN_ENDS = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})


@dataclass(slots=True)
class Report:
    """What was played."""

    scripts: int = 0
    kills: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        left = "".join(f"; {count} left out: {why}" for why, count in sorted(self.left_out.items()))
        return f"{self.scripts} scripts on Postgres with {self.kills} kills in {self.seconds:.0f} s{left}"

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        left_out = dict(sorted(self.left_out.items()))
        return {"scripts": self.scripts, "kills": self.kills, "left_out": left_out, "seconds": round(self.seconds, 3)}


def run_durably(
    workflow: type,
    kept: Sequence[Sequence[int]],
    url: str,
    *,
    scripts_max: int = SCRIPTS_MAX,
    sandboxed: bool = True,
    told: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Play schedules on a real Postgres, with kills.

    Args:
        workflow: the class; stubs are inferred from annotations.
        kept: decision lists, as ``check_workflow(...).kept`` has them.
        url: of the database. Each play has a namespace of its own (``determinism_...``), which is dropped at its end.
        scripts_max: how many different scripts are played, of the corpus and of schedules with one thing out of the
            ordinary: those that have most that the ones before do not have.
        sandboxed: the workers run workflows in Temporal's sandbox.
        told: called with what is being done, how much of it is done, and how much there is.

    Raises:
        DeterminismError: it ends otherwise than in memory, a kill changes how it ends, something is lost, comes twice or
            is made up, or Temporal's Replayer refuses a history.
    """
    plan = inferred(workflow, sandboxed=False)
    report = Report()
    begun = time.monotonic()
    crew = Crew(plan)
    try:
        scripts = _chosen(_scripts(crew, kept, report), scripts_max, report)
        file = getattr(sys.modules.get(workflow.__module__), "__file__", None)
        with Mother(workflow.__module__, file, {URL_VARIABLE: url}) as mother:
            asyncio.run(_Stage(workflow, crew, mother, url, sandboxed, report, told).play(scripts))
    finally:
        crew.close()
    report.seconds = time.monotonic() - begun
    return report


def _scripts(crew: Crew, kept: Sequence[Sequence[int]], report: Report) -> list[Script]:
    """All different ones: the plain one, those of the corpus, and those with one thing out of the ordinary."""
    found: dict[str, Script] = {}

    def add(decisions: Decisions) -> None:
        with quiet():
            lived = live(crew, decisions)
        try:
            told = script_of(lived)
        except LeftOut as reason:
            report.left_out[str(reason)] += 1
        else:
            course = [[(c.key, c.how, c.answer, c.arrival.values) for c in run] for run in told.runs]
            found.setdefault(repr((told.inputs, course)), told)

    for decisions in ((), *kept):
        add(Listed(decisions))
    until = time.monotonic() + SEARCH_S
    for _ in singles(add, SEARCH_DECISIONS):
        if time.monotonic() > until:
            break
    return list(found.values())


def _chosen(scripts: Sequence[Script], most: int, report: Report) -> list[Script]:
    """The plain one, and those that add most to it."""
    left, chosen, seen = list(scripts), list[Script](), frozenset[str]()
    while left and len(chosen) < most:
        best = max(left, key=lambda s: len(s.variety - seen)) if chosen else left[0]
        left.remove(best)
        chosen.append(best)
        seen |= best.variety
    if left:
        report.left_out[f"more than {most} scripts"] += len(left)
    return chosen


@dataclass(slots=True)
class _Stage:
    workflow: type
    crew: Crew
    mother: Mother
    url: str
    sandboxed: bool
    report: Report
    told: Callable[[str, int, int], None] | None = None
    _played: list[Played] = field(default_factory=list)
    """What Temporal's Replayer has to look at."""

    @property
    def plan(self) -> Plan:
        return self.crew.plan

    async def play(self, scripts: Sequence[Script]) -> None:
        for done, told in enumerate(scripts):
            self._tell(done, len(scripts))
            self.report.scripts += 1
            first, second = await self._peace(told), await self._peace(told)
            same = first.ending == second.ending
            if not same:
                self.report.left_out["comparisons, as its ending is another one each time"] += 1
            elif first.ending != told.ending:
                await self._unlike_memory(told, first)
            kills = 0
            for place, passing in _places(told):
                self._tell(done, len(scripts))
                killed = await self._once(told, f"{place}=kill@{passing}")
                kills += killed.kills
                self.report.kills += killed.kills
                if same and killed.ending != first.ending:
                    await self._changed_by(f"{place}, {passing}", told, first, killed)
            if not kills:
                self.report.left_out["kills, as it passes no place for one"] += 1
            await self._replayed(told)

    def _tell(self, done: int, of: int) -> None:
        if self.told is not None:
            self.told(f"scripts on Postgres, {self.report.kills} kills", done, of)

    async def _peace(self, told: Script) -> Played:
        return await self._once(told, None)

    async def _unlike_memory(self, told: Script, played: Played) -> None:
        if not told.in_step:
            self.report.left_out["comparisons with memory, where several things came at once"] += 1
            return
        if not await self._steady(told, played.ending):
            self.report.left_out["comparisons, as its ending is another one each time"] += 1
            return
        self._broken(
            Rule.DURABLE, f"in memory it {_told(told.ending)}, on Postgres it {_told(played.ending)}.", told, played
        )

    async def _changed_by(self, place: str, told: Script, peaceful: Played, killed: Played) -> None:
        """It ended otherwise. Is that because other things came to it?"""
        what = f"in peace it {_told(peaceful.ending)}, with its worker killed ({place}) it {_told(killed.ending)}"
        if killed.course == peaceful.course:
            self._broken(Rule.CRASH_FREE, f"{what}, though the same came to it.", told, killed)
        try:
            other = script(killed.traces, told.decisions)
        except LeftOut as reason:
            self.report.left_out[f"a kill's ending: {reason}"] += 1
            return
        again = await self._peace(other)
        if again.ending == killed.ending:
            return
        if not other.in_step:
            self.report.left_out["a kill's ending, where several things came at once"] += 1
        elif not await self._steady(other, again.ending):
            self.report.left_out["comparisons, as its ending is another one each time"] += 1
        else:
            self._broken(
                Rule.CRASH_FREE, f"{what}; where the same comes to it in peace it {_told(again.ending)}.", told, killed
            )

    async def _steady(self, told: Script, ending: Ending) -> bool:
        """Does it always end so?"""
        for _ in range(CHANCE):
            if (await self._peace(told)).ending != ending:
                return False
        return True

    async def _once(self, told: Script, kill: str | None) -> Played:
        """One play, and what must hold of any."""
        try:
            async with Play(
                told,
                self.mother,
                self.workflow,
                self.plan.name,
                self.url,
                sandboxed=self.sandboxed,
                boring=self._boring,
            ) as play:
                played = await play.run(kill)
        except Stuck as error:
            self._broken(Rule.WAKE_UP, f"{error} ({kill or 'no kill'})", told)
        except TaskFails as error:
            self._broken(Rule.TASK_FAILS, f"{error} ({kill or 'no kill'})", told)
        except PlayFailed as error:
            self._broken(Rule.ENGINE, f"{error} ({kill or 'no kill'})", told)
        self._accounted(told, played, kill)
        self._played.append(played)
        return played

    def _accounted(self, told: Script, played: Played, kill: str | None) -> None:
        """Whatever came, came once, in order, and from somebody."""
        where = f"({kill or 'no kill'})"
        for trace in played.traces:
            keys = Counter(coming.key for coming in comings(trace))
            twice = [key for key, count in keys.items() if count > 1]
            if twice:
                self._broken(Rule.STEP_ONCE, f"{twice[0][0]} {twice[0][2] + 1} has ended twice {where}.", told, played)
            for coming in comings(trace):
                self._in_bounds(coming, trace, where, told, played)
        if played.strange:
            self._broken(
                Rule.CRASH_FREE, f"{played.strange[0]!r} has a result that no attempt reported {where}.", told, played
            )
        sent = list(messages([[c for c in played.sent if c.kind is not ArrivalKind.UPDATE]]))
        heard = list(messages([[c for c in comings(t) if c.kind is not ArrivalKind.UPDATE] for t in played.traces]))
        if heard != sent[: len(heard)]:
            names = [name or kind for kind, name, _ in heard], [name or kind for kind, name, _ in sent]
            self._broken(Rule.SIGNAL_ONCE, f"it hears {names[0]}, and was sent {names[1]} {where}.", told, played)
        if len(heard) < len(sent) and played.traces[-1].outcome.status in _OWN_ENDS:
            lost = sent[len(heard)][1] or sent[len(heard)][0]
            self._broken(Rule.SIGNAL_ONCE, f"{lost!r} was acknowledged, and it ended without it {where}.", told, played)

        updates = Counter(c.arrival.name for t in played.traces for c in comings(t) if c.kind is ArrivalKind.UPDATE)
        more = [name for name, count in updates.items() if count > played.called[name]]
        if more:
            self._broken(
                Rule.UPDATE_ONCE, f"update {more[0]!r} is accepted more often than it came {where}.", told, played
            )

    def _in_bounds(self, coming: Coming, trace: Trace, where: str, told: Script, played: Played) -> None:
        """Not before its time, and not after more attempts than there may be."""
        arrival = coming.arrival
        if arrival.step is None:
            return
        step = trace.steps[arrival.step]
        if coming.kind is ArrivalKind.TIMER and arrival.at_ms < step.at_ms + (step.duration_ms or 0):
            self._broken(Rule.TIMERS, f"a timer rings before it is due {where}.", told, played)
        most = dict(step.options or ()).get("retry_maximum_attempts")
        if coming.kind is ArrivalKind.ACTIVITY and isinstance(most, int) and 0 < most < arrival.attempt:
            what = f"activity {step.name!r} was tried {arrival.attempt} times; it may be {most} times {where}."
            self._broken(Rule.ATTEMPTS, what, told, played)

    async def _replayed(self, told: Script) -> None:
        """Temporal's Replayer, once for all plays of a script."""
        outlive_native_threads()
        replayer = Replayer(workflows=[self.workflow], workflow_runner=UnsandboxedWorkflowRunner())
        played = [(one, history) for one in self._played for history in one.histories]
        self._played.clear()

        async def histories() -> AsyncIterator[WorkflowHistory]:
            for _, history in played:
                yield history

        number = 0
        async with replayer.workflow_replay_iterator(histories()) as answers:
            async for answer in answers:
                if answer.replay_failure is not None:
                    self._broken(Rule.HISTORY, f"{answer.replay_failure}", told, played[number][0])
                number += 1
        assert number == len(played), "each of them has an answer"

    def _boring(self, activity_type: str) -> Told:
        for ending in self.crew.endings(activity_type) or ():
            outcome = ending.outcome
            if outcome is not None and outcome.kind.value == "completed":
                form = None if outcome.record is None else json.loads(outcome.record)
                return {"how": "completed", "values": [] if form is None else [wire(value(payload(form)))]}
        failure = {"message": "failed", "type": "Failed", "non_retryable": True, "details": [], "cause": None}
        return {"how": "failed", "failure": failure}

    def _broken(self, rule: Rule, what: str, told: Script, played: Played | None = None) -> NoReturn:
        history = played.histories[-1].to_json() if played is not None and played.histories else None
        raise DeterminismError(
            rule, f"On Postgres {what}", workflow=self.plan.name, decisions=told.decisions, history=history
        )


def _places(told: Script) -> list[tuple[str, int]]:
    further = [place for features, place in FURTHER if features & told.features]
    return list(dict.fromkeys((*PLACES, *further)))


def _told(ending: Ending) -> str:
    """How it ended, for people."""
    _, outcome = ending[-1]
    runs = f" as run {len(ending)}" if len(ending) > 1 else ""
    failure = outcome.failure
    while failure is not None and failure.cause is not None:
        failure = failure.cause
    if failure is not None:
        return f"ends as {outcome.status}{runs} with {failure.type or failure.kind} {failure.message!r}"
    values = ", ".join(getattr(v, "text", repr(v)) for v in outcome.values)
    return f"ends as {outcome.status}{runs} with {values or 'nothing'}"


__all__ = ["LeftOut", "Report", "Script", "run_durably", "script_of"]
