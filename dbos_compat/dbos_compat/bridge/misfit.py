"""A journal that the code does not follow, in a workflow that is to fail on a NondeterminismError.

Temporal's core finds out with the workflow's next task, which then fails the workflow. Until that task the run waits on
for what it has asked for, which is read here from the journal alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from temporalio.api.failure.v1 import Failure

from dbos_compat.bridge.activations import PendingActivity, ordered, record_text
from dbos_compat.bridge.activity_tasks import recorded_spec
from dbos_compat.bridge.build_ids import BuildId
from dbos_compat.bridge.commands import ABANDON, TRY_CANCEL, Command, digest
from dbos_compat.bridge.decisions import Builder, consumed
from dbos_compat.bridge.others import ABANDON as ABANDON_CHILD
from dbos_compat.bridge.others import Child
from dbos_compat.convert.failures import failure_text
from dbos_compat.convert.payloads import dumps
from dbos_compat.history.numbering import EventIds
from dbos_compat.private import SDK_VERSION
from dbos_core.commit import Entry, RunRow
from dbos_core.errands.spec import Errand, ErrandKind
from dbos_core.runner import Activation, Decision


class JournalMisfit:
    """The ``dbos_core.runner.Misfit`` of a Temporal workflow."""

    def __init__(self, failure: Failure, builder: Builder, row: RunRow, *, identity: str, build_id: str) -> None:
        """
        Args:
            failure: with which the workflow is to fail.
            builder: of the run, as yet without its past.
            identity, build_id: of the worker whose code does not fit.
        """
        self._failure = failure
        self._builder = builder
        self._row = row
        self._identity = identity
        self._build_id = build_id
        self._build = BuildId()
        self._ids = EventIds()
        self._locals: set[int] = set()

    def recorded(self, entry: Entry) -> Decision:
        record = json.loads(entry.record)
        self._build.replayed(record)
        task = self._ids.begin_task(record["ev"])
        event_ids = self._ids.end_task(task, record["cmds"])
        decision = Decision(record=None, name=entry.name, at_ms=record["at"], history_length=self._ids.last)
        consumed(decision, record["ev"])
        for event in record["ev"]:
            self._happened(event)
        for command, event_id in zip(record["cmds"], event_ids, strict=True):
            self._asked(decision, command, event_id)
        # On Temporal the task that began a local activity is still under way, and times out: there is a next one.
        decision.unfinished = "reset" in record or bool(self._locals)
        return decision

    def _happened(self, event: Mapping[str, Any]) -> None:
        if event["k"] == "activity":
            self._builder.activities.pop(event["seq"], None)
        elif event["k"] == "local":
            self._locals.discard(event["seq"])
        elif event["k"] in ("errand", "child"):
            self._builder.others.happened(event)

    def _asked(self, decision: Decision, command: Mapping[str, Any], event_id: int) -> None:
        kind, seq, builder = command["k"], command.get("seq", 0), self._builder
        if kind == "activity":
            builder.activities[seq] = PendingActivity(
                command["id"], command["type"], command.get("ct", TRY_CANCEL), event_id
            )
            decision.schedule.append(recorded_spec(command, decision.at_ms, self._row))
        elif kind == "cancel_activity":
            how = builder.activities[seq].cancellation_type
            if how in (TRY_CANCEL, ABANDON):
                del builder.activities[seq]
            given_up = decision.try_cancel_activities if how == TRY_CANCEL else decision.abandon_activities
            (given_up if how in (TRY_CANCEL, ABANDON) else decision.cancel_activities).append(seq)
        elif kind == "timer":
            decision.start_timers.append((seq, builder.timer_due_ms(decision.at_ms, command["ms"])))
        elif kind == "cancel_timer":
            decision.cancel_timers.append(seq)
        elif kind == "local_activity":
            self._locals.add(seq)
        elif kind == "local_marker":
            self._locals.discard(seq)
        elif kind == "update_accepted":
            builder.accepted.add(command["id"])
        elif kind == "update_completed":
            builder.accepted.discard(command["id"])
        elif kind == "child":
            builder.others.children[seq] = Child(
                command["id"], command["type"], "", command.get("ct", ABANDON_CHILD), command["pcp"]
            )
            decision.errands.append(_errand(ErrandKind.CHILD, command, event_id))
        elif kind == "cancel_child" and command.get("ct") != ABANDON_CHILD:
            child = builder.others.children[seq]
            decision.errands.append(
                _errand(ErrandKind.CHILD_CANCEL, {**command, "id": child.workflow_id, "child": True}, event_id)
            )
        elif kind == "signal_external":
            decision.errands.append(_errand(ErrandKind.SIGNAL, command, event_id))
        elif kind == "cancel_external":
            decision.errands.append(_errand(ErrandKind.CANCEL, command, event_id))

    def end(self, activation: Activation) -> Decision:
        texts = [record_text(event) for event in activation.events]
        records = [json.loads(text) for text in texts]
        # An update that is not accepted leaves nothing, unless a reset has brought it.
        order = [i for i in ordered(records) if records[i]["k"] != "update" or "reapplied" in records[i]["m"]]
        texts, records = [texts[i] for i in order], [records[i] for i in order]
        text = f'{{"k":"fail","f":{failure_text(self._failure)}}}'
        fail = Command("fail", "fail", text, message=self._failure)
        task = self._ids.begin_task(records)
        event_ids = self._ids.end_task(task, [fail.record])
        decision = self._builder.decision(
            at_ms=activation.at_ms,
            records=records,
            commands=[fail],
            event_ids=event_ids,
            rejected=(),
            history_length=self._ids.last,
            live=True,
        )
        self._build.current = self._build_id
        decision.record = (
            f'{{"v":1,"at":{activation.at_ms},"by":{dumps(self._identity)},"sdk":"{SDK_VERSION}",{self._build.field()}'
            f'"ev":[{",".join(texts)}],"cmds":[{text}],"d":"{digest([fail])}"}}'
        )
        return decision


def _errand(kind: ErrandKind, command: Mapping[str, Any], event_id: int) -> Errand:
    return Errand(
        kind=kind,
        seq=command["seq"],
        number=command.get("n", 0),
        workflow_id=command["id"],
        run_id=command.get("run", ""),
        child_only=command.get("child", False),
        event_id=event_id,
        record=dumps(command),
    )
