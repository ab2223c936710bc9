"""Commands → what the kernel shall do, and what the interpreter must remember for later resolutions.

The same code runs live and on replay; on replay the kernel only folds the decision to learn what is pending.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from dbos_compat.bridge.activations import PendingActivity
from dbos_compat.bridge.activity_tasks import spec_of
from dbos_compat.bridge.commands import ABANDON, TERMINAL, TRY_CANCEL, Command, Rejected
from dbos_compat.bridge.local_activities import PendingLocal, pending_of
from dbos_compat.bridge.local_activities import spec_of as spec_of_local
from dbos_compat.bridge.others import ERRANDS, Others, errand_of
from dbos_compat.chains.successor import NOTHING_FOLLOWS, Ending, NewId, after_failure, after_result, continued
from dbos_compat.convert.answers import Answer, answer_text
from dbos_compat.convert.failures import dbos_error_text
from dbos_compat.convert.payloads import dumps, is_nothing, payload_text, plain_text
from dbos_compat.convert.records import CloseRecord, close_text
from dbos_compat.convert.search_attributes import CHANGE_VERSION, merged_text, versions_payload
from dbos_core.commit import Close, RunRow, RunStatus, UpdateRow
from dbos_core.errands.spec import ErrandKind
from dbos_core.runner import Decision

ACCEPTED_STAGE, COMPLETED_STAGE = 2, 3


class Builder:
    """What is pending in one run, and decisions made from its commands."""

    __slots__ = (
        "_identity",
        "_new_id",
        "_row",
        "_shortest_timer_ms",
        "accepted",
        "activities",
        "at_ms",
        "inputs",
        "locals",
        "memo",
        "names_activities",
        "others",
        "search_attributes",
    )

    def __init__(self, identity: str, row: RunRow, inputs: str, new_id: NewId, *, shortest_timer_ms: int = 0) -> None:
        self._shortest_timer_ms = shortest_timer_ms
        self._identity = identity
        self._new_id = new_id
        self._row = row
        self.inputs = inputs
        self.at_ms = 0
        self.activities: dict[int, PendingActivity] = {}
        self.others = Others()
        self.locals: dict[int, PendingLocal] = {}
        self.accepted: set[str] = set()
        """Updates that were accepted and are not completed."""
        self.names_activities = False
        """User code gives activities ids of its own."""
        self.memo: dict[str, Any] | None = None
        self.search_attributes: str | None = None

    def decision(
        self,
        *,
        at_ms: int,
        records: Sequence[Mapping[str, Any]],
        commands: Sequence[Command],
        event_ids: Sequence[int],
        rejected: Sequence[Rejected],
        history_length: int,
        live: bool,
    ) -> Decision:
        self.at_ms = at_ms
        decision = Decision(
            record=None, name=_name(records, self.activities, self.others), at_ms=at_ms, history_length=history_length
        )
        for record in records:
            if record["k"] == "activity":
                self.activities.pop(record["seq"], None)
            elif record["k"] in ("errand", "child"):
                self.others.happened(record)
            elif record["k"] == "local":
                self.locals.pop(record["seq"], None)
        consumed(decision, records)
        for refused in rejected:
            decision.updates.append(
                UpdateRow(update_id=refused.update_id, stage=0, outcome=answer_text(Answer(failure=refused.failure)))
            )
        for command, event_id in zip(commands, event_ids, strict=False):
            self._apply(decision, command, event_id, live)
        decision.open_children = self.others.open_children
        if decision.close is not None and live:
            for update_id in sorted(self.accepted):
                decision.updates.append(
                    UpdateRow(
                        update_id=update_id, stage=COMPLETED_STAGE, outcome=answer_text(Answer(failure=_aborted()))
                    )
                )
        return decision

    def _apply(self, decision: Decision, command: Command, event_id: int, live: bool) -> None:
        kind = command.kind
        if kind == "activity":
            schedule = command.message.schedule_activity
            if schedule.activity_id != str(command.seq):
                self.names_activities = True
            self.activities[command.seq] = PendingActivity(
                schedule.activity_id, schedule.activity_type, command.cancellation_type, event_id
            )
            decision.schedule.append(spec_of(command, decision.at_ms, self._row))
        elif kind == "timer":
            decision.start_timers.append((command.seq, self.timer_due_ms(decision.at_ms, command.message)))
        elif kind == "cancel_timer":
            decision.cancel_timers.append(command.seq)
        elif kind == "cancel_activity":
            self._cancel_activity(decision, command)
        elif kind in ERRANDS:
            errand = errand_of(command, event_id, self.others)
            if errand is not None:
                decision.errands.append(errand)
        elif kind == "local_activity":
            self.locals[command.seq] = pending_of(command, decision.at_ms)
            decision.schedule_local.append(spec_of_local(command, decision.at_ms, self._row.task_queue))
        elif kind == "cancel_local":
            self._cancel_local(decision, command)
        elif kind == "update_accepted":
            self.accepted.add(command.update_id)
            decision.updates.append(UpdateRow(update_id=command.update_id, stage=ACCEPTED_STAGE))
        elif kind == "update_completed":
            self._update_completed(decision, command)
        elif kind == "upsert_sa":
            self._upsert(decision, command.message)
        elif kind == "patch":
            if command.versions:
                self._upsert(decision, {CHANGE_VERSION: versions_payload(command.versions)})
        elif kind == "memo":
            memo = self.memo if self.memo is not None else json.loads(self._row.memo or "{}")
            for key, payload in command.message.items():
                if is_nothing(payload):
                    memo.pop(key, None)
                else:
                    memo[key] = json.loads(payload_text(payload))
            self.memo = memo
            decision.memo = dumps(memo)
        elif kind in TERMINAL:
            decision.close = self._close(command, event_id, decision.at_ms, live)

    def timer_due_ms(self, at_ms: int, duration_ms: int) -> int:
        """When a timer rings that was asked for then."""
        return at_ms + max(duration_ms, self._shortest_timer_ms)

    def _upsert(self, decision: Decision, changes: Mapping[str, Payload]) -> None:
        current = self.search_attributes or self._row.search_attributes
        self.search_attributes = decision.search_attributes = merged_text(current, changes)

    def _cancel_activity(self, decision: Decision, command: Command) -> None:
        if command.cancellation_type == TRY_CANCEL:
            decision.try_cancel_activities.append(command.seq)
            self.activities.pop(command.seq, None)
        elif command.cancellation_type == ABANDON:
            decision.abandon_activities.append(command.seq)
            self.activities.pop(command.seq, None)
        else:
            decision.cancel_activities.append(command.seq)
            self.activities[command.seq].cancel_requested = True

    def _cancel_local(self, decision: Decision, command: Command) -> None:
        if command.cancellation_type == TRY_CANCEL:
            decision.try_cancel_local.append(command.seq)
            self.locals.pop(command.seq, None)
        elif command.cancellation_type == ABANDON:
            decision.abandon_local.append(command.seq)
            self.locals.pop(command.seq, None)
        else:
            decision.cancel_local.append(command.seq)
            self.locals[command.seq].cancel_requested = True

    def _update_completed(self, decision: Decision, command: Command) -> None:
        self.accepted.discard(command.update_id)
        answer = (
            Answer(failure=command.message)
            if isinstance(command.message, Failure)
            else Answer(payloads=[command.message])
        )
        # Accepted and completed in one task: only the later stage is written.
        decision.updates = [u for u in decision.updates if u.update_id != command.update_id]
        decision.updates.append(
            UpdateRow(update_id=command.update_id, stage=COMPLETED_STAGE, outcome=answer_text(answer))
        )

    def _close(self, command: Command, event_id: int, at_ms: int, live: bool) -> Close:
        close = CloseRecord(kind="completed", identity=self._identity, event_id=event_id)
        output = error = None
        if command.kind == "complete":
            status = RunStatus.COMPLETED
            close.result = [command.message]
            output = plain_text(command.message)
        elif command.kind == "fail":
            status = RunStatus.FAILED
            close.kind = "failed"
            close.failure = command.message
            error = dbos_error_text(command.message)
        elif command.kind == "continue_as_new":
            status = RunStatus.CONTINUED_AS_NEW
            close.kind = "continued_as_new"
        else:
            status = RunStatus.CANCELED
            close.kind = "canceled"
            error = '{"name":"CancelledError","message":"Workflow cancelled"}'
        ending = self._ending(command, at_ms) if live else NOTHING_FOLLOWS
        close.retry_state, close.new_run_id = ending.state, ending.new_run_id
        return Close(
            status=status,
            close_ms=at_ms,
            record=close_text(close),
            output=output,
            error=error,
            successor=ending.successor,
        )

    def _ending(self, command: Command, now_ms: int) -> Ending:
        """What follows this end of the run."""
        row, inputs = self._row, self.inputs
        if command.kind == "continue_as_new":
            search_attributes = self.search_attributes or row.search_attributes
            run_id = self._new_id()
            return replace(
                NOTHING_FOLLOWS,
                successor=continued(row, inputs, command.text, search_attributes, now_ms, run_id),
            )
        if command.kind == "complete":
            return after_result(row, inputs, command.message, now_ms, self._new_id)
        if command.kind == "fail":
            return after_failure(row, inputs, command.message, now_ms, self._new_id)
        return NOTHING_FOLLOWS


def consumed(decision: Decision, records: Iterable[Mapping[str, Any]]) -> None:
    """Say in a decision what these events were that the run waits for no more."""
    for record in records:
        if record["k"] == "activity":
            decision.consumed_activities.append(record["seq"])
        elif record["k"] == "timer":
            decision.consumed_timers.append(record["seq"])
        elif record["k"] == "errand":
            decision.consumed_errands.append((ErrandKind(record["e"]), record["seq"], record.get("n", 0)))
        elif record["k"] == "local":
            decision.consumed_locals.append(record["seq"])


def _aborted() -> Failure:
    """The outcome of an update that was accepted and not completed when its run closed (temporal-seam §4.4)."""
    failure = Failure(
        message="Workflow Update failed because the Workflow completed before the Update completed.", source="Server"
    )
    failure.application_failure_info.type = "AcceptedUpdateCompletedWorkflow"
    failure.application_failure_info.non_retryable = True
    return failure


_ERRANDS = {
    ErrandKind.CHILD: "child start",
    ErrandKind.SIGNAL: "signal sent",
    ErrandKind.CANCEL: "cancel sent",
    ErrandKind.CHILD_CANCEL: "child cancel",
}
_NAMES = {"start": "start", "resume": "reset", "timer": "DBOS.sleep", "cancel": "cancel requested"}


def _name(records: Sequence[Mapping[str, Any]], activities: Mapping[int, PendingActivity], others: Others) -> str:
    """What a stock tool shows as the step: the activity's type, ``signal approve`` …; several joined."""
    names = []
    for record in records[:4]:
        kind = record["k"]
        if kind == "activity":
            pending = activities.get(record["seq"])
            names.append(pending.activity_type if pending is not None else "activity")
        elif kind == "local":
            names.append(record["type"])
        elif kind == "signal":
            names.append(f"signal {record['name']}")
        elif kind == "update":
            names.append(f"update {record['m']['name']}")
        elif kind == "errand":
            names.append(_ERRANDS[record["e"]])
        elif kind == "child":
            child = others.children.get(record["m"]["seq"])
            names.append(child.workflow_type if child is not None else "child")
        else:
            names.append(_NAMES[kind])
    more = len(records) - len(names)
    return " + ".join(names) + (f" + {more} more" if more else "")
