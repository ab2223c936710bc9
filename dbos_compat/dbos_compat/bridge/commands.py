"""A completion → commands, normalised (temporal-seam §1.6), as journal records and as what the kernel shall do. Pure.

Every kind of command of the worker protocol is either in ``_HANDLERS`` or refused by name through the ledger of
differences; a test compares both with the protocol's own list.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from dbos_compat.convert.failures import failure_text
from dbos_compat.convert.payloads import dumps, payload_map_text, payload_text, payloads_text

T = TypeVar("T")

TRY_CANCEL, WAIT_CANCELLATION_COMPLETED, ABANDON = 0, 1, 2

TERMINAL = frozenset({"complete", "fail", "cancel", "continue_as_new"})

UNCHECKED = frozenset({"patch", "local_activity", "cancel_local"})
"""Kinds of command that are not in the digest, since Temporal lets a replay differ in them: see ``patches`` and
``local_activities``."""


_IN_ANY_ORDER = frozenset({"cancel_activity", "cancel_timer", "cancel_child"})
"""Of requests of one of these kinds that follow each other Temporal compares how many there are, not what they are for.
``asyncio.TaskGroup`` keeps its tasks in a set, and cancels them in whichever order that has."""


class UnsupportedCommand(Exception):
    """The workflow asked for something that this release does not do. ``slug`` is its entry in the ledger."""

    def __init__(self, slug: str) -> None:
        super().__init__(slug)
        self.slug = slug


@dataclass(slots=True, eq=False)
class Command:
    """One command: what a replay compares, and its text for the journal."""

    kind: str
    identity: str
    """Exactly what Temporal matches on (temporal-seam §8.4), plus the seq."""
    written: str | Callable[[Command], str]
    """``text``, or what writes it: a replay, which has the journal's, asks for few."""
    seq: int = 0
    message: Any = None
    """The protobuf that it came from."""
    cancellation_type: int = 0
    request: Any = None
    """Of a child: the start request that it amounts to, once somebody has made it."""
    number: int = 0
    """Of a request to cancel a child: which of several."""
    update_id: str = ""
    inputs: str = ""
    """Of an activity: its arguments as they stand in ``text``."""
    versions: Sequence[str] | None = None
    """Of a patch: the value of the search attribute that it brings."""

    @property
    def text(self) -> str:
        """As it stands in the journal."""
        if not isinstance(self.written, str):
            self.written = self.written(self)
        return self.written

    @property
    def record(self) -> dict[str, Any]:
        """The fields that event numbering reads."""
        return {
            "k": self.kind,
            "seq": self.seq,
            "id": self.update_id,
            "ct": self.cancellation_type,
            "sa": self.versions,
            "n": self.number,
        }


@dataclass(slots=True)
class Rejected:
    """An update that its validator refused (or that has no handler): leaves no trace in the journal."""

    update_id: str
    failure: Failure


@dataclass(slots=True)
class Commands:
    """All commands of one workflow task, over all its activations."""

    released: list[Command] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    terminal: Command | None = None


def ms(duration: Duration) -> int:
    """Milliseconds, rounded up so that a timer is never early."""
    return duration.seconds * 1000 + -(-duration.nanos // 1_000_000)


def read(command: WorkflowCommand) -> Command | Rejected | None:
    """One protobuf command. None: nothing to journal (query answers are taken elsewhere).

    Raises:
        UnsupportedCommand: with the slug of the ledger's entry.
    """
    variant = command.WhichOneof("variant")
    handler = _HANDLERS.get(variant or "")
    if handler is None:
        raise UnsupportedCommand(UNSUPPORTED.get(variant or "", variant or "unknown-command"))
    return handler(command)


def _durations(message: Any, **fields: str) -> list[str]:
    """Those of the message's durations that are set, in milliseconds: key in the record = field of the message."""
    return [f'"{key}":{ms(getattr(message, name))}' for key, name in fields.items() if message.HasField(name)]


def _user_metadata(command: WorkflowCommand) -> list[str]:
    if not command.HasField("user_metadata"):
        return []
    return [f'"meta":"{b64encode(command.user_metadata.SerializeToString()).decode()}"']


def _schedule_activity(command: WorkflowCommand) -> Command:
    a = command.schedule_activity
    return Command(
        "activity",
        f"activity {a.seq} {a.activity_id} {a.activity_type}",
        _activity_text,
        seq=a.seq,
        message=command,
        cancellation_type=a.cancellation_type,
        inputs=payloads_text(a.arguments),
    )


def _activity_text(command: Command) -> str:
    a = command.message.schedule_activity
    parts = [
        f'"k":"activity","seq":{a.seq},"id":{dumps(a.activity_id)},"type":{dumps(a.activity_type)},'
        f'"queue":{dumps(a.task_queue)},"in":{command.inputs}'
    ]
    if a.headers:
        parts.append(f'"h":{payload_map_text(a.headers)}')
    parts += _durations(
        a,
        s2c="schedule_to_close_timeout",
        s2s="schedule_to_start_timeout",
        stc="start_to_close_timeout",
        hb="heartbeat_timeout",
    )
    if a.HasField("retry_policy"):
        parts.append(f'"retry":{_retry_text(a.retry_policy)}')
    if a.cancellation_type:
        parts.append(f'"ct":{a.cancellation_type}')
    if a.HasField("priority"):
        parts.append(f'"prio":"{b64encode(a.priority.SerializeToString()).decode()}"')
    parts += _user_metadata(command.message)
    return "{" + ",".join(parts) + "}"


def _schedule_local_activity(command: WorkflowCommand) -> Command:
    a = command.schedule_local_activity
    inputs = payloads_text(a.arguments)
    parts = [
        f'"k":"local_activity","seq":{a.seq},"id":{dumps(a.activity_id)},"type":{dumps(a.activity_type)},"in":{inputs}'
    ]
    parts += _durations(
        a,
        s2c="schedule_to_close_timeout",
        s2s="schedule_to_start_timeout",
        stc="start_to_close_timeout",
        threshold="local_retry_threshold",
    )
    if a.HasField("retry_policy"):
        parts.append(f'"retry":{_retry_text(a.retry_policy)}')
    if a.cancellation_type:
        parts.append(f'"ct":{a.cancellation_type}')
    return Command(
        "local_activity",
        f"local_activity {a.seq} {a.activity_id} {a.activity_type}",
        "{" + ",".join(parts) + "}",
        seq=a.seq,
        message=command,
        cancellation_type=a.cancellation_type,
        inputs=inputs,
    )


def _request_cancel_local_activity(command: WorkflowCommand) -> Command:
    seq = command.request_cancel_local_activity.seq
    return Command("cancel_local", f"cancel_local {seq}", f'{{"k":"cancel_local","seq":{seq}}}', seq=seq)


def _retry_text(policy: Any) -> str:
    return dumps(
        {
            "initial": ms(policy.initial_interval),
            "coefficient": policy.backoff_coefficient,
            "max_interval": ms(policy.maximum_interval),
            "max_attempts": policy.maximum_attempts,
            "non_retryable": list(policy.non_retryable_error_types),
        }
    )


def _request_cancel_activity(command: WorkflowCommand) -> Command:
    seq = command.request_cancel_activity.seq
    return Command("cancel_activity", f"cancel_activity {seq}", f'{{"k":"cancel_activity","seq":{seq}}}', seq=seq)


def _start_timer(command: WorkflowCommand) -> Command:
    timer = command.start_timer
    duration = ms(timer.start_to_fire_timeout)
    meta = "".join([f",{part}" for part in _user_metadata(command)])
    return Command(
        "timer",
        f"timer {timer.seq}",
        f'{{"k":"timer","seq":{timer.seq},"ms":{duration}{meta}}}',
        seq=timer.seq,
        message=duration,
    )


def _cancel_timer(command: WorkflowCommand) -> Command:
    seq = command.cancel_timer.seq
    return Command("cancel_timer", f"cancel_timer {seq}", f'{{"k":"cancel_timer","seq":{seq}}}', seq=seq)


def _update_response(command: WorkflowCommand) -> Command | Rejected:
    response = command.update_response
    update_id = response.protocol_instance_id
    kind = response.WhichOneof("response")
    if kind == "accepted":
        return Command(
            "update_accepted",
            "update_accepted",
            f'{{"k":"update_accepted","id":{dumps(update_id)}}}',
            update_id=update_id,
        )
    if kind == "completed":
        return Command(
            "update_completed",
            "update_completed",
            f'{{"k":"update_completed","id":{dumps(update_id)},"r":{payload_text(response.completed)}}}',
            update_id=update_id,
            message=response.completed,
        )
    return Rejected(update_id, response.rejected)


def update_failed(rejected: Rejected) -> Command:
    """A "rejected" after acceptance is the failure of the update's handler."""
    return Command(
        "update_completed",
        "update_completed",
        f'{{"k":"update_completed","id":{dumps(rejected.update_id)},"f":{failure_text(rejected.failure)}}}',
        update_id=rejected.update_id,
        message=rejected.failure,
    )


def _set_patch_marker(command: WorkflowCommand) -> Command:
    """Its text is completed by ``patches``, which knows the other patches of the run."""
    marker = command.set_patch_marker
    return Command("patch", f"patch {marker.patch_id}", "", message=marker)


def _upsert_search_attributes(command: WorkflowCommand) -> Command:
    fields = indexed_fields(command.upsert_workflow_search_attributes)
    return Command("upsert_sa", "upsert_sa", f'{{"k":"upsert_sa","sa":{payload_map_text(fields)}}}', message=fields)


def indexed_fields(message: Any) -> Mapping[str, Any]:
    """A command's search attributes, wherever this release of the SDK has them."""
    attributes = message.search_attributes
    fields: Mapping[str, Any] = getattr(attributes, "indexed_fields", attributes)
    return fields


def _modify_properties(command: WorkflowCommand) -> Command:
    memo = command.modify_workflow_properties.upserted_memo.fields
    return Command("memo", "memo", f'{{"k":"memo","memo":{payload_map_text(memo)}}}', message=memo)


def _start_child(command: WorkflowCommand) -> Command:
    c = command.start_child_workflow_execution
    parts = [
        f'"k":"child","seq":{c.seq},"id":{dumps(c.workflow_id)},"type":{dumps(c.workflow_type)},'
        f'"queue":{dumps(c.task_queue)},"in":{payloads_text(c.input)},"pcp":{c.parent_close_policy or 1},'
        f'"reuse":{c.workflow_id_reuse_policy or 1}'
    ]
    if c.headers:
        parts.append(f'"h":{payload_map_text(c.headers)}')
    parts += _durations(c, xt="workflow_execution_timeout", rt="workflow_run_timeout", tt="workflow_task_timeout")
    if c.HasField("retry_policy"):
        parts.append(f'"retry":{_retry_text(c.retry_policy)}')
    if c.cron_schedule:
        parts.append(f'"cron":{dumps(c.cron_schedule)}')
    if c.memo:
        parts.append(f'"memo":{payload_map_text(c.memo)}')
    if attributes := indexed_fields(c):
        parts.append(f'"sa":{payload_map_text(attributes)}')
    if c.cancellation_type:
        parts.append(f'"ct":{c.cancellation_type}')
    if c.HasField("priority"):
        parts.append(f'"prio":"{b64encode(c.priority.SerializeToString()).decode()}"')
    parts += _user_metadata(command)
    return Command(
        "child",
        f"child {c.seq} {c.workflow_id} {c.workflow_type}",
        "{" + ",".join(parts) + "}",
        seq=c.seq,
        message=command,
        cancellation_type=c.cancellation_type,
    )


def _cancel_child(command: WorkflowCommand) -> Command:
    """Its text is made by ``others``, which knows the child."""
    cancel = command.cancel_child_workflow_execution
    seq = cancel.child_workflow_seq
    return Command("cancel_child", f"cancel_child {seq}", "", seq=seq, message=cancel)


def _signal_external(command: WorkflowCommand) -> Command:
    s = command.signal_external_workflow_execution
    to_child = s.WhichOneof("target") == "child_workflow_id"
    workflow_id = s.child_workflow_id if to_child else s.workflow_execution.workflow_id
    parts = [
        f'"k":"signal_external","seq":{s.seq},"id":{dumps(workflow_id)},"name":{dumps(s.signal_name)},'
        f'"in":{payloads_text(s.args)}'
    ]
    if to_child:
        parts.append('"child":true')
    elif s.workflow_execution.run_id:
        parts.append(f'"run":{dumps(s.workflow_execution.run_id)}')
    if s.headers:
        parts.append(f'"h":{payload_map_text(s.headers)}')
    return Command("signal_external", "signal_external", "{" + ",".join(parts) + "}", seq=s.seq, message=command)


def _cancel_signal(command: WorkflowCommand) -> Command:
    seq = command.cancel_signal_workflow.seq
    return Command("cancel_signal", f"cancel_signal {seq}", "", seq=seq)


def _cancel_external(command: WorkflowCommand) -> Command:
    c = command.request_cancel_external_workflow_execution
    run = f',"run":{dumps(c.workflow_execution.run_id)}' if c.workflow_execution.run_id else ""
    return Command(
        "cancel_external",
        "cancel_external",
        f'{{"k":"cancel_external","seq":{c.seq},"id":{dumps(c.workflow_execution.workflow_id)}{run},'
        f'"reason":{dumps(getattr(c, "reason", ""))}}}',
        seq=c.seq,
        message=command,
    )


def _complete(command: WorkflowCommand) -> Command:
    result = command.complete_workflow_execution.result
    return Command("complete", "complete", f'{{"k":"complete","r":{payload_text(result)}}}', message=result)


def _fail(command: WorkflowCommand) -> Command:
    failure = command.fail_workflow_execution.failure
    return Command("fail", "fail", f'{{"k":"fail","f":{failure_text(failure)}}}', message=failure)


def _cancel(command: WorkflowCommand) -> Command:
    return Command("cancel", "cancel", '{"k":"cancel"}')


def _continue_as_new(command: WorkflowCommand) -> Command:
    c = command.continue_as_new_workflow_execution
    parts = [f'"k":"continue_as_new","type":{dumps(c.workflow_type)},"in":{payloads_text(c.arguments)}']
    if c.task_queue:
        parts.append(f'"queue":{dumps(c.task_queue)}')
    if c.headers:
        parts.append(f'"h":{payload_map_text(c.headers)}')
    parts += _durations(c, run="workflow_run_timeout", task="workflow_task_timeout", backoff="backoff_start_interval")
    if c.memo:
        parts.append(f'"memo":{payload_map_text(c.memo)}')
    if fields := indexed_fields(c):
        parts.append(f'"sa":{payload_map_text(fields)}')
    if c.HasField("retry_policy"):
        parts.append(f'"retry":{_retry_text(c.retry_policy)}')
    return Command("continue_as_new", "continue_as_new", "{" + ",".join(parts) + "}", message=c)


def _answer(command: WorkflowCommand) -> None:
    return None


_HANDLERS: dict[str, Callable[[WorkflowCommand], Command | Rejected | None]] = {
    "schedule_activity": _schedule_activity,
    "request_cancel_activity": _request_cancel_activity,
    "schedule_local_activity": _schedule_local_activity,
    "request_cancel_local_activity": _request_cancel_local_activity,
    "start_timer": _start_timer,
    "cancel_timer": _cancel_timer,
    "update_response": _update_response,
    "set_patch_marker": _set_patch_marker,
    "upsert_workflow_search_attributes": _upsert_search_attributes,
    "modify_workflow_properties": _modify_properties,
    "complete_workflow_execution": _complete,
    "fail_workflow_execution": _fail,
    "cancel_workflow_execution": _cancel,
    "continue_as_new_workflow_execution": _continue_as_new,
    "respond_to_query": _answer,
    "start_child_workflow_execution": _start_child,
    "cancel_child_workflow_execution": _cancel_child,
    "signal_external_workflow_execution": _signal_external,
    "cancel_signal_workflow": _cancel_signal,
    "request_cancel_external_workflow_execution": _cancel_external,
}

UNSUPPORTED: dict[str, str] = {
    "schedule_nexus_operation": "nexus",
    "request_cancel_nexus_operation": "nexus",
}
"""Command → slug in the ledger of differences."""


_TAKES_BACK = {
    "cancel_activity": "activity",
    "cancel_timer": "timer",
    "cancel_child": "child",
    "cancel_signal": "signal_external",
}


def normalise(commands: Sequence[Command]) -> tuple[list[Command], set[int]]:
    """Drop what was asked for and taken back within the task.

    Returns:
        the commands that are released, and the seqs of activities that were cancelled before they were sent (the
        workflow must be told of these).
    """
    unsent: set[int] = set()
    kinds = {command.kind for command in commands}
    if not kinds.isdisjoint(_TAKES_BACK):
        asked = {(c.kind, c.seq) for c in commands}
        taken_back = {
            place for c in commands if c.kind in _TAKES_BACK and (place := (_TAKES_BACK[c.kind], c.seq)) in asked
        }
        unsent = {seq for kind, seq in taken_back if kind == "activity"}
        commands = [c for c in commands if (_TAKES_BACK.get(c.kind, c.kind), c.seq) not in taken_back]
    if not kinds.isdisjoint(TERMINAL):
        terminal = [c for c in commands if c.kind in TERMINAL]
        commands = [c for c in commands if c.kind not in TERMINAL] + terminal[:1]
    return list(commands), unsent


def cut(commands: Sequence[Command], checked: int) -> tuple[list[Command], list[Command]]:
    """The commands up to the last of so many that are in the digest; and those after it."""
    kept: list[Command] = []
    ahead: list[Command] = []
    for command in commands:
        if command.kind in UNCHECKED:
            kept.append(command)
        elif checked > 0:
            kept.append(command)
            checked -= 1
        else:
            ahead.append(command)
    return kept, ahead


def as_recorded(
    commands: Sequence[Command], recorded: Sequence[Mapping[str, Any]]
) -> tuple[list[Command], list[Command]]:
    """The commands that a replay has asked for, as far as the journal has them, and those beyond. Of requests to cancel whose
    order is nobody's concern (``_IN_ANY_ORDER``) in the order in which they are recorded."""
    commands, ahead = cut(commands, len([c for c in recorded if c["k"] not in UNCHECKED]))
    if len([c for c in commands if c.kind in _IN_ANY_ORDER]) > 1:
        place = {(c["k"], c["seq"]): index for index, c in enumerate(recorded) if c["k"] in _IN_ANY_ORDER}
        last = len(recorded)
        commands = _ordered(commands, lambda c: c.kind, lambda c: place.get((c.kind, c.seq), last))
    return commands, ahead


def in_one_order(recorded: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Recorded commands such that two lists which Temporal takes for the same are the same: see ``_IN_ANY_ORDER``. Requests to
    cancel a local activity, of which Temporal keeps nothing, are the last."""
    found = sorted(recorded, key=lambda c: c["seq"] + 1 if c["k"] == "cancel_local" else 0)
    return _ordered(found, lambda c: c["k"], lambda c: c["seq"])


def _ordered(commands: Sequence[T], kind: Callable[[T], str], place: Callable[[T], int]) -> list[T]:
    """With neighbours whose order is nobody's concern by their place. What is not in the digest stands between none."""
    found = list(commands)
    checked = [index for index, command in enumerate(found) if kind(command) not in UNCHECKED]
    for kind_, group in groupby(checked, lambda index: kind(found[index])):
        if kind_ in _IN_ANY_ORDER:
            indices = list(group)
            for index, command in zip(indices, sorted([found[i] for i in indices], key=place), strict=True):
                found[index] = command
    return found


def digest(commands: Sequence[Command]) -> str:
    """What a replay has to repeat, in sixteen characters."""
    identities = [c.identity for c in commands if c.kind not in UNCHECKED]
    return blake2b("\n".join(identities).encode(), digest_size=8).hexdigest()
