"""Script: a schedule as real processes can play it: what comes to each run of the workflow, in order, and how it ends.

A script is made of traces, so that it can be made of a play as well: whoever was killed leaves behind what came to the
workflow, and that can be played once more in peace.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dbos_shadow.determinism.run import Lived
from dbos_shadow.trace import (
    Arrival,
    ArrivalKind,
    Failure,
    Opaque,
    Outcome,
    Plain,
    Status,
    Step,
    StepKind,
    Trace,
    Value,
)

Key: TypeAlias = tuple[ArrivalKind, str, int]
"""Which thing it is that comes to a run: the n-th message of a kind and name, the end of the n-th activity."""
Told: TypeAlias = dict[str, Any]
"""An ending as a worker process is told it; JSON."""
Ending: TypeAlias = tuple[tuple[tuple[Value, ...], Outcome], ...]
"""Of each run what it was started with and how it ended."""

RESOLVES = {
    ArrivalKind.ACTIVITY: StepKind.ACTIVITY,
    ArrivalKind.TIMER: StepKind.TIMER,
    ArrivalKind.CHILD_STARTED: StepKind.CHILD,
    ArrivalKind.CHILD: StepKind.CHILD,
    ArrivalKind.EXTERNAL_SIGNALED: StepKind.SIGNAL_EXTERNAL,
    ArrivalKind.EXTERNAL_CANCELED: StepKind.CANCEL_EXTERNAL,
}
_ANSWERED = frozenset({ArrivalKind.ACTIVITY, ArrivalKind.LOCAL_ACTIVITY, ArrivalKind.CHILD})
_PROTOBUF = frozenset({"json/protobuf", "binary/protobuf", "external"})


class LeftOut(Exception):
    """Why a schedule is no script."""


@dataclass(frozen=True, slots=True)
class Coming:
    """One thing that comes to a run."""

    key: Key
    how: str
    at_ms: int
    arrival: Arrival
    step_id: str = ""
    """Of an activity its id."""

    @property
    def kind(self) -> ArrivalKind:
        return self.key[0]

    @property
    def answer(self) -> Told | None:
        """How attempts have to end for that. None: it comes by itself, at its time."""
        if self.kind not in _ANSWERED:
            return None
        if self.how == "completed":
            return {"how": "completed", "values": [wire(value) for value in self.arrival.values]}
        if self.how == "canceled" and self.kind is not ArrivalKind.CHILD:
            return {"how": "canceled"}
        said = said_by(self.arrival)
        if self.how == "timed_out" and said is not None and said.cause is not None and said.cause.kind == "application":
            itself = said.message.startswith("Not enough time") or self.arrival.last_failure is None
            return {"how": "hangs", "before": _failure(said.cause), "fail": self.arrival.attempt - (not itself)}
        if self.how == "failed" and said is not None and said.kind == "application":
            return {"how": "failed", "failure": _failure(said)}
        return None


@dataclass(frozen=True, slots=True)
class Script:
    """What comes to the workflow."""

    decisions: tuple[int, ...]
    runs: tuple[tuple[Coming, ...], ...]
    """Of each run, in order."""
    early: tuple[Coming, ...]
    """Messages that are there before any worker is: the first task shows them."""
    inputs: tuple[Value, ...]
    begins_ms: int
    ending: Ending
    """In memory."""
    queues: frozenset[str]
    """Those that its activities and children are on."""
    in_step: bool
    """Nothing came together with something else, so that a play of it shows the workflow the same, task by task."""

    @property
    def features(self) -> frozenset[str]:
        """Which kinds of things come, and how runs end."""
        found = {f"{coming.kind} {coming.how}" for run in self.runs for coming in run}
        return frozenset(found | {f"{outcome.status}" for _, outcome in self.ending})

    @property
    def variety(self) -> frozenset[str]:
        """What it has that another may not have."""
        named = {f"{c.kind} {c.arrival.name} {c.how}" for run in self.runs for c in run}
        return self.features | named | {f"in step: {self.in_step}", f"runs: {len(self.runs)}"}


def script_of(lived: Lived) -> Script:
    """The script of a schedule.

    Raises:
        LeftOut: processes cannot play it.
    """
    if lived.error is not None:
        raise LeftOut("it breaks a rule in memory already")
    return script(lived.traces, lived.decisions)


def script(traces: Sequence[Trace], decisions: Sequence[int]) -> Script:
    """The script of the runs of a workflow, oldest first.

    Raises:
        LeftOut: processes cannot play it.
    """
    if not traces or traces[-1].outcome.status is Status.CONTINUED_AS_NEW:
        raise LeftOut("it has not ended")
    if any(trace.outcome.status is not Status.CONTINUED_AS_NEW for trace in traces[:-1]):
        raise LeftOut("the workflow is started more than once")
    runs = tuple(comings(trace) for trace in traces)
    for coming in (coming for run in runs for coming in run):
        _playable(coming)
    for value in traces[0].inputs:
        wire(value)
    early = tuple(c for c in runs[0] if c.arrival.is_message and c.arrival.activation == 1)
    return Script(
        decisions=tuple(decisions),
        runs=runs,
        early=early,
        inputs=traces[0].inputs,
        begins_ms=traces[0].at_ms,
        ending=ending_of(traces),
        queues=frozenset(
            str(option)
            for trace in traces
            for step in trace.steps
            for name, option in step.options or ()
            if name == "queue"
        ),
        in_step=all(_in_step(run, first=run is runs[0]) for run in runs),
    )


def ending_of(traces: Sequence[Trace]) -> Ending:
    return tuple((trace.inputs, trace.outcome) for trace in traces)


def comings(trace: Trace) -> tuple[Coming, ...]:
    """What came to a run, in order."""
    places = _places(trace.steps)
    count: Counter[tuple[ArrivalKind, str]] = Counter()
    found: list[Coming] = []
    for arrival in trace.arrivals:
        step_id = "" if arrival.step is None else trace.steps[arrival.step].id
        if arrival.kind in RESOLVES and arrival.step is not None:
            key = (arrival.kind, "", places[arrival.step])
        else:
            which = arrival.kind, arrival.name if arrival.is_message else step_id
            key = (*which, count[which])
            count[which] += 1
        found.append(Coming(key, arrival.how, arrival.at_ms, arrival, step_id))
    return tuple(found)


def asked(trace: Trace) -> dict[tuple[StepKind, int], Step]:
    """What a run has asked for so far, by kind and number."""
    return {(step.kind, place): step for step, place in zip(trace.steps, _places(trace.steps), strict=True)}


def _places(steps: Sequence[Step]) -> list[int]:
    count: Counter[StepKind] = Counter()
    places = []
    for step in steps:
        places.append(count[step.kind])
        count[step.kind] += 1
    return places


def _in_step(run: Sequence[Coming], *, first: bool) -> bool:
    together = Counter(coming.arrival.activation for coming in run)
    alone = all(count == 1 for activation, count in together.items() if activation > 1)
    of_first = [coming for coming in run if coming.arrival.activation == 1]
    return alone and (
        not of_first or (first and all(c.kind in (ArrivalKind.SIGNAL, ArrivalKind.CANCEL) for c in of_first))
    )


def _playable(coming: Coming) -> None:
    arrival = coming.arrival
    if arrival.kind in (ArrivalKind.NEXUS, ArrivalKind.NEXUS_STARTED):
        raise LeftOut("it calls Nexus operations")
    said = said_by(arrival)
    if arrival.how == "timed_out" and said is not None and said.type == "schedule_to_start":
        raise LeftOut("an activity finds no worker in time")
    if arrival.how == "failed" and arrival.kind in _ANSWERED and not coming.answer:
        raise LeftOut("an activity or a child fails otherwise than by an application error")
    if arrival.how == "failed" and said is not None and said.sealed is not None:
        raise LeftOut("a failure can be read by a codec only")
    if arrival.is_message or coming.answer:
        for value in arrival.values:
            wire(value)


def said_by(arrival: Arrival) -> Failure | None:
    """The failure that an attempt, or a child, has ended with, without what the engine says around it."""
    failure = arrival.failure
    while failure is not None and failure.kind in ("activity", "child") and failure.cause is not None:
        failure = failure.cause
    return failure


def wire(value: Value) -> tuple[str, str]:
    """A value as it travels to another process: its encoding, and its bytes in base64.

    Raises:
        LeftOut: a trace does not have all of it.
    """
    if value.encoding in _PROTOBUF:
        raise LeftOut("a value is a protobuf message")
    if isinstance(value, Opaque):
        data = value.data
    else:
        data = b"" if value.encoding == "binary/null" else (value.raw or value.text).encode()
    return value.encoding, b64encode(data).decode()


def _failure(failure: Failure) -> Told:
    return {
        "message": failure.message,
        "type": failure.type,
        "non_retryable": failure.non_retryable,
        "details": [wire(value) for value in failure.details],
        "cause": None if failure.cause is None else _failure(failure.cause),
    }


def messages(runs: Sequence[Sequence[Coming]]) -> Iterator[tuple[str, str, str]]:
    """All messages that came, in order."""
    for coming in (coming for run in runs for coming in run if coming.arrival.is_message):
        values = [v.text if isinstance(v, Plain) else repr(v) for v in coming.arrival.values]
        yield coming.kind.value, coming.arrival.name, json.dumps(values)


__all__ = ["Coming", "Ending", "Key", "LeftOut", "Script", "Told", "comings", "ending_of", "script", "script_of"]
