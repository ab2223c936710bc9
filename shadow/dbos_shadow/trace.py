"""Trace: a run as the shadow sees it, from either engine. Frozen before anybody compares it.

A trace knows no engine. It is three things:

* **steps**, what the workflow asked for, in the order in which it asked;
* **arrivals**, what the workflow saw of the world, in the order in which it saw it;
* the **outcome**.

Steps and arrivals carry the number of their *activation*: the workflow task that showed the arrivals to the code, and in
which the code asked for the steps. Inside of one activation all arrivals come before all steps. What no task has shown to
the workflow (a signal that came too late, a result for a run that was terminated) is not in a trace: the code never knew.

Equality is about behaviour. Times, attempt counts and the engine's names for a run are there to be read, and do not count
(``compare=False``). Everything is hashable.

Payloads are values here: JSON where they are JSON (``Plain``), else bytes with their encoding (``Opaque``).
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = [
    "Arrival",
    "ArrivalKind",
    "Failure",
    "Incomplete",
    "MESSAGES",
    "NULL",
    "Named",
    "Opaque",
    "Option",
    "Options",
    "Outcome",
    "Plain",
    "Status",
    "Step",
    "StepKind",
    "Trace",
    "Value",
    "Values",
    "canonical",
]


# -- values ------------------------------------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Plain:
    """A value that is JSON. Two are equal when their values are, whoever wrote them and how."""

    text: str
    """Canonical: keys sorted, no blanks. It is text so that a trace stays frozen, hashable and small."""
    encoding: str = field(default="json/plain", compare=False)
    raw: str = field(default="", compare=False, repr=False)
    """As it was written, where that is not ``text``: the order of keys may matter to whoever reads it again."""
    type: str = ""
    """Of a search attribute its type, where it is said: a keyword is found otherwise than a text."""

    @classmethod
    def of(cls, value: Any) -> Plain:
        return cls(canonical(value))

    @classmethod
    def read(cls, data: bytes, encoding: str) -> Plain | Opaque:
        """JSON as it came. What claims to be JSON and is not is kept as bytes."""
        try:
            raw = data.decode()
            text = canonical(json.loads(raw))
        except (ValueError, RecursionError):
            return Opaque(encoding, data)
        return cls(text, encoding, "" if raw == text else raw)

    @property
    def value(self) -> Any:
        """Decoded anew at each call."""
        return json.loads(self.text)


_BYTES_ARE_THE_VALUE = frozenset({"binary/plain", "binary/protobuf"})


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that is not JSON: bytes, or something that only a codec can read."""

    encoding: str
    data: bytes = field(repr=False)

    @property
    def sealed(self) -> bool:
        """Do unequal bytes say nothing? Ciphertext differs each time it is made; compressed or stored elsewhere, it
        might. Only a codec could tell."""
        return self.encoding not in _BYTES_ARE_THE_VALUE


Value: TypeAlias = Plain | Opaque
Values: TypeAlias = tuple[Value, ...]
Named: TypeAlias = tuple[tuple[str, Value], ...]
"""Values by name, sorted: ``memo.<key>``, ``search_attributes.<key>``, ``headers.<key>``; ``summary`` and ``details``, which
people read."""
Option: TypeAlias = str | int | float | bool | tuple[str, ...]
Options: TypeAlias = tuple[tuple[str, Option], ...]
"""Options by name, sorted. One that does not apply is absent."""

NULL = Plain("null", "binary/null")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure as workflow code can tell it from another: no stack trace, no ids that an engine gave."""

    kind: str
    """application, timeout, canceled, terminated, server, activity, child, nexus …; empty: a bare message."""
    message: str = ""
    type: str = ""
    """Of an application failure its type, of a timeout which clock it was, of an activity or child its type."""
    non_retryable: bool = False
    retry_state: int = 0
    next_retry_delay_ms: int = 0
    """Of an application failure: after which time an attempt may follow. 0: nothing is said."""
    category: str = ""
    """Of an application failure: benign, or nothing."""
    details: Values = ()
    sealed: Value | None = None
    """Message and stack trace where a codec has taken them away."""
    cause: Failure | None = None


# -- what the workflow asked for ---------------------------------------------------------------------------------------


class StepKind(enum.StrEnum):
    """What a workflow can ask for."""

    ACTIVITY = "activity"
    LOCAL_ACTIVITY = "local_activity"
    TIMER = "timer"
    CHILD = "child"
    SIGNAL_EXTERNAL = "signal_external"
    CANCEL_EXTERNAL = "cancel_external"
    CANCEL_ACTIVITY = "cancel_activity"
    CANCEL_TIMER = "cancel_timer"
    CANCEL_CHILD = "cancel_child"
    NEXUS = "nexus"
    CANCEL_NEXUS = "cancel_nexus"
    PATCH = "patch"
    UPSERT_SEARCH_ATTRIBUTES = "upsert_search_attributes"
    UPSERT_MEMO = "upsert_memo"
    UPDATE_ACCEPTED = "update_accepted"
    UPDATE_COMPLETED = "update_completed"
    CONTINUE_AS_NEW = "continue_as_new"
    MARKER = "marker"
    """Some other SDK's: a side effect, a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that the workflow asked for."""

    kind: StepKind
    activation: int
    name: str = ""
    """Type of an activity or child, name of a signal or update, id of a patch."""
    id: str = ""
    """Of an activity, timer or update its id; of a child, or who is signalled or cancelled, the workflow id."""
    inputs: Values | None = ()
    """Arguments; of a completed update its result. None: this source does not record them (a Temporal history has no
    inputs of local activities), so nobody can compare them."""
    named: Named = ()
    options: Options | None = ()
    """Retry policy, timeouts, queue, policies. None: this source does not record them."""
    duration_ms: int | None = None
    """Of a timer."""
    run_id: str = ""
    """Of a signal or cancel request to another workflow: the run that it is for; empty: whichever runs."""
    target: int | None = None
    """Index of the step that this one is about: what is cancelled, which accepted update is completed."""
    failure: Failure | None = None
    """Of an update that its handler refused."""
    at_ms: int = field(default=0, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same step on both sides."""
        return (self.kind.value, self.name)

    @property
    def label(self) -> str:
        return f"{self.kind.value} {self.name}".rstrip()


# -- what arrived ------------------------------------------------------------------------------------------------------


class ArrivalKind(enum.StrEnum):
    """What can happen to a workflow. The first three are messages: it sees them in order. The others resolve a step."""

    SIGNAL = "signal"
    UPDATE = "update"
    CANCEL = "cancel"
    ACTIVITY = "activity"
    LOCAL_ACTIVITY = "local_activity"
    TIMER = "timer"
    CHILD_STARTED = "child_started"
    CHILD = "child"
    EXTERNAL_SIGNALED = "external_signaled"
    EXTERNAL_CANCELED = "external_canceled"
    NEXUS_STARTED = "nexus_started"
    NEXUS = "nexus"


MESSAGES = frozenset({ArrivalKind.SIGNAL, ArrivalKind.UPDATE, ArrivalKind.CANCEL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One thing that the workflow saw, and where: after all steps of the activations before."""

    kind: ArrivalKind
    activation: int
    name: str = ""
    """Of a signal or update; of what resolves a step, the step's name."""
    id: str = field(default="", compare=False)
    """Of an update: its client chose it."""
    step: int | None = None
    """Index of the step that it resolves. A local activity's is in the same activation: histories have it so."""
    how: str = "completed"
    """completed, failed, timed_out, canceled, terminated; messages are always "completed"."""
    values: Values = ()
    """Arguments of a message, result of a step, details of a cancellation."""
    failure: Failure | None = None
    retry_state: int = 0
    attempt: int = field(default=0, compare=False)
    """The last attempt, where it is recorded. Which one succeeded is chance."""
    last_failure: Failure | None = field(default=None, compare=False)
    """Of the attempt before, where it is recorded."""
    at_ms: int = field(default=0, compare=False)

    @property
    def is_message(self) -> bool:
        return self.kind in MESSAGES

    @property
    def label(self) -> str:
        return f"{self.kind.value} {self.name}".rstrip()


# -- the whole ---------------------------------------------------------------------------------------------------------


class Status(enum.StrEnum):
    """How a run stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    CONTINUED_AS_NEW = "continued_as_new"
    UNKNOWN = "unknown"
    """The record ends before the run does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. What a continued run hands on is a step, its last."""

    status: Status
    values: Values = ()
    """The result, or details of a cancellation or termination."""
    failure: Failure | None = None
    at_ms: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incomplete:
    """Why a trace is not the whole run as far as it went. What it holds is true; what comes after is unknown."""

    code: str
    """empty, no_start, gap, cut_at_end, dangling, unreadable, unknown_event"""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A run of either engine."""

    workflow_type: str
    workflow_id: str = field(default="", compare=False)
    run_id: str = field(default="", compare=False)
    origin: str = field(default="", compare=False)
    """Where it was read: "history" or "journal"."""
    task_queue: str = ""
    inputs: Values = ()
    steps: tuple[Step, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    outcome: Outcome = field(default_factory=lambda: Outcome(status=Status.UNKNOWN))
    incomplete: Incomplete | None = None
    at_ms: int = field(default=0, compare=False)
    """When it started."""
