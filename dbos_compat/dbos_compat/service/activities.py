"""Activities completed from outside: by task token or by activity id.

The process that owns the run has the activity's machine, so the question goes there (``Kernel.request``). Where no
process of the run's queue is alive the outcome is left in the run's mailbox, and its next owner acts on it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)

from dbos_compat.bridge.activity_tasks import failed_outcome
from dbos_compat.bridge.refusals import heartbeat_too_large
from dbos_compat.convert.payloads import dumps, payload_text, payloads_text
from dbos_compat.errors import already_completed, invalid, not_found, timeout_expired
from dbos_compat.service.common import BLOB_BYTES_MAX, Context, find_run
from dbos_compat.service.pending import open_activities
from dbos_core.activities.attempt import parse_token
from dbos_core.activities.operating import Operated
from dbos_core.activities.service import Answer, Signs
from dbos_core.activities.spec import AttemptOutcome, OutcomeKind
from dbos_core.activities.wire import outcome_mail, read_outcome
from dbos_core.commit import LoadedRun, Mail, RunRow, RunStatus, Verdict
from dbos_core.mailbox import ACTIVITY, OWN_ID
from dbos_core.questions import QuestionFailed

COMPLETE = "activity.complete"
HEARTBEAT = "activity.heartbeat"
ASK_S = 5.0
"""How long the owner of a run may take to answer before the mailbox is used."""

_NO_RESULT = '{"n":1}'

TokenRequest = (
    RespondActivityTaskCompletedRequest
    | RespondActivityTaskFailedRequest
    | RespondActivityTaskCanceledRequest
    | RecordActivityTaskHeartbeatRequest
)
IdRequest = (
    RespondActivityTaskCompletedByIdRequest
    | RespondActivityTaskFailedByIdRequest
    | RespondActivityTaskCanceledByIdRequest
    | RecordActivityTaskHeartbeatByIdRequest
)


@dataclass(frozen=True, slots=True)
class Place:
    """Which attempt is meant: by seq and attempt (token), or by the activity's id."""

    run: RunRow
    seq: int | None
    attempt: int | None
    activity_id: str

    def gone(self) -> Exception:
        """The error for an attempt that is not open."""
        if self.seq is None:
            return not_found(
                f"cannot find pending activity with ActivityID {self.activity_id}, "
                "check workflow execution history for more details"
            )
        return _stale()


def _stale() -> Exception:
    return not_found("invalid activityID or activity already timed out or invoking workflow is completed")


# -- who is meant ------------------------------------------------------------------------------------------------------


async def _by_token(context: Context, request: TokenRequest) -> Place:
    if not request.task_token:
        raise invalid("Task token not set on request.")
    parts = parse_token(request.task_token)
    if parts is None:
        raise invalid("Error deserializing task token.")
    rows = await context.kernel.store.rows([parts.workflow_uuid], watch=False)
    if not rows:
        raise _stale()
    if rows[0].status is not RunStatus.RUNNING:
        raise already_completed()
    return Place(rows[0], parts.seq, parts.attempt, "")


async def _by_id(context: Context, request: IdRequest) -> Place:
    if not request.activity_id:
        raise invalid("ActivityId is not set on request.")
    run = await find_run(context, WorkflowExecution(workflow_id=request.workflow_id, run_id=request.run_id))
    if run.status is not RunStatus.RUNNING:
        raise already_completed()
    return Place(run, None, None, request.activity_id)


# -- outcomes: pure ----------------------------------------------------------------------------------------------------


def completed(result: Payloads, identity: str) -> AttemptOutcome:
    record = payload_text(result.payloads[0]) if result.payloads else _NO_RESULT
    return AttemptOutcome(kind=OutcomeKind.COMPLETED, record=record, identity=identity)


def canceled(details: Payloads, identity: str) -> AttemptOutcome:
    return AttemptOutcome(kind=OutcomeKind.CANCELED, record=payloads_text(details.payloads), identity=identity)


def failed(request: RespondActivityTaskFailedRequest | RespondActivityTaskFailedByIdRequest) -> AttemptOutcome:
    if request.HasField("failure") and not request.failure.HasField("application_failure_info"):
        raise invalid("Failure must have ApplicationFailureInfo.")
    return failed_outcome(request.failure, request.identity, heartbeat=_details(request.last_heartbeat_details))


def _details(details: Payloads) -> str | None:
    return payloads_text(details.payloads) if details.payloads else None


# -- asking ------------------------------------------------------------------------------------------------------------


async def _check_open(context: Context, place: Place) -> None:
    """Refuse at once what the journal does not know as open, if somebody else would have to be asked."""
    if context.kernel.live(place.run.workflow_uuid) is None:
        loaded = await context.kernel.load(place.run.workflow_uuid)
        if loaded is None or _open(loaded, place) is None:
            raise place.gone()


async def _complete(context: Context, place: Place, outcome: AttemptOutcome) -> None:
    await _check_open(context, place)
    if _unowned(context, place):
        await _leave_in_mailbox(context, place, outcome)
        return
    question = _question(place) | {"outcome": {k: v for k, v in asdict(outcome).items() if v is not None}}
    try:
        answer = await context.kernel.request(place.run, COMPLETE, dumps(question), ASK_S)
    except TimeoutError:
        await _leave_in_mailbox(context, place, outcome)
        return
    except QuestionFailed:
        raise await _moved_on(context, place) from None
    verdict = Answer(json.loads(answer)["answer"])
    if verdict is Answer.NOT_REQUESTED:
        raise invalid("unable to mark activity as canceled without activity being request canceled first")
    if verdict is not Answer.OK:
        raise place.gone()


async def _beat(context: Context, place: Place, details: Payloads, identity: str) -> Signs:
    if details.ByteSize() > BLOB_BYTES_MAX:  # as a server: the attempt has failed by that, and is asked to stop
        await _complete(context, place, failed_outcome(heartbeat_too_large(), identity))
        return Signs(cancel=True)
    await _check_open(context, place)
    if _unowned(context, place):
        return await _beat_for_later(context, place, details)
    question = _question(place) | {"details": _details(details)}
    try:
        answer = json.loads(await context.kernel.request(place.run, HEARTBEAT, dumps(question), ASK_S))
    except TimeoutError:
        return await _beat_for_later(context, place, details)
    except QuestionFailed:
        raise await _moved_on(context, place) from None
    if Answer(answer["answer"]) is not Answer.OK:
        raise place.gone()
    return Signs(**answer["signs"])


def _unowned(context: Context, place: Place) -> bool:
    """No process has the run, and we cannot take it."""
    return place.run.owner is None and not context.kernel.serves(place.run.task_queue)


def _question(place: Place) -> dict[str, Any]:
    return {"seq": place.seq, "attempt": place.attempt, "id": place.activity_id}


async def _moved_on(context: Context, place: Place) -> Exception:
    """The run left its owner while it was asked: closed, or on its way to another process."""
    now = await context.kernel.find(place.run.workflow_id, place.run.run_id)
    if now is None or now.status is not RunStatus.RUNNING:
        return already_completed()
    return timeout_expired()


async def _leave_in_mailbox(context: Context, place: Place, outcome: AttemptOutcome) -> None:
    """Nobody who could run the workflow is alive: make the outcome durable for whoever comes."""
    loaded = await context.kernel.load(place.run.workflow_uuid)
    found = None if loaded is None else _open(loaded, place)
    if found is None:
        raise place.gone()
    seq, attempt, cancel_requested = found
    if outcome.kind is OutcomeKind.CANCELED and not cancel_requested:
        raise invalid("unable to mark activity as canceled without activity being request canceled first")
    verdict = await context.kernel.send(
        Mail(
            mail_id=f"{OWN_ID}{place.run.run_id}:a:{seq}:{attempt}:outside",
            workflow_uuid=place.run.workflow_uuid,
            topic=ACTIVITY,
            message=outcome_mail(seq, attempt, outcome),
        )
    )
    if verdict is Verdict.RUN_CLOSED:
        raise already_completed()


async def _beat_for_later(context: Context, place: Place, details: Payloads) -> Signs:
    """Keep the details in the activity's row, where its next owner finds them."""
    loaded = await context.kernel.load(place.run.workflow_uuid)
    found = None if loaded is None else _open(loaded, place)
    if found is None:
        raise place.gone()
    seq, attempt, cancel_requested = found
    workers = {row.seq: row.worker for row in loaded.activities if row.worker} if loaded is not None else {}
    worker = workers.get(seq) or place.run.owner
    if worker is None:
        raise timeout_expired()
    answer = await context.kernel.store.heartbeat(place.run.workflow_uuid, seq, attempt, _details(details), worker)
    if not answer.wanted:
        raise place.gone()
    operated = Operated.read(answer.operator)
    return Signs(answer.cancel or cancel_requested, operated.pause is not None, operated.reset)


def _open(loaded: LoadedRun, place: Place) -> tuple[int, int, bool] | None:
    """(seq, attempt, cancel requested) of the attempt that is meant, if it is open."""
    rows = {row.seq: row for row in loaded.activities}
    for seq, (command, _, cancelled) in open_activities(loaded).items():
        if seq == place.seq or (place.seq is None and command["id"] == place.activity_id):
            row = rows.get(seq)
            attempt = row.attempt if row is not None else place.attempt or 1
            if place.attempt not in (None, attempt):
                return None
            return seq, attempt, cancelled or (row is not None and row.cancel_requested)
    return None


# -- answering, in the process that owns the run -----------------------------------------------------------------------


def register(context: Context) -> None:
    """Let this process answer about the runs that live here."""

    async def complete(run: RunRow, text: str) -> str:
        question = json.loads(text)
        seq = _seq(context, run, question)
        if seq is None:
            return dumps({"answer": Answer.NOT_FOUND.value})
        await context.kernel.activities.released(run.workflow_uuid, seq)
        answer = context.kernel.activities.complete_outside(
            run.workflow_uuid, seq, question["attempt"], read_outcome(question["outcome"])
        )
        return dumps({"answer": answer.value})

    async def heartbeat(run: RunRow, text: str) -> str:
        question = json.loads(text)
        seq = _seq(context, run, question)
        if seq is None:
            return dumps({"answer": Answer.NOT_FOUND.value})
        await context.kernel.activities.released(run.workflow_uuid, seq)
        answer, signs = context.kernel.activities.heartbeat_outside(
            run.workflow_uuid, seq, question["attempt"], question["details"]
        )
        return dumps({"answer": answer.value, "signs": signs._asdict()})

    context.kernel.questions.register(COMPLETE, complete)
    context.kernel.questions.register(HEARTBEAT, heartbeat)


def _seq(context: Context, run: RunRow, question: dict[str, Any]) -> int | None:
    if question["seq"] is not None:
        return int(question["seq"])
    machine = context.kernel.activities.find(run.workflow_uuid, question["id"])
    return None if machine is None else machine.spec.seq


# -- the RPCs ----------------------------------------------------------------------------------------------------------


async def respond_activity_task_completed(context: Context, request: RespondActivityTaskCompletedRequest) -> Message:
    await _complete(context, await _by_token(context, request), completed(request.result, request.identity))
    return RespondActivityTaskCompletedResponse()


async def respond_activity_task_completed_by_id(
    context: Context, request: RespondActivityTaskCompletedByIdRequest
) -> Message:
    await _complete(context, await _by_id(context, request), completed(request.result, request.identity))
    return RespondActivityTaskCompletedByIdResponse()


async def respond_activity_task_failed(context: Context, request: RespondActivityTaskFailedRequest) -> Message:
    await _complete(context, await _by_token(context, request), failed(request))
    return RespondActivityTaskFailedResponse()


async def respond_activity_task_failed_by_id(
    context: Context, request: RespondActivityTaskFailedByIdRequest
) -> Message:
    await _complete(context, await _by_id(context, request), failed(request))
    return RespondActivityTaskFailedByIdResponse()


async def respond_activity_task_canceled(context: Context, request: RespondActivityTaskCanceledRequest) -> Message:
    await _complete(context, await _by_token(context, request), canceled(request.details, request.identity))
    return RespondActivityTaskCanceledResponse()


async def respond_activity_task_canceled_by_id(
    context: Context, request: RespondActivityTaskCanceledByIdRequest
) -> Message:
    await _complete(context, await _by_id(context, request), canceled(request.details, request.identity))
    return RespondActivityTaskCanceledByIdResponse()


async def record_activity_task_heartbeat(context: Context, request: RecordActivityTaskHeartbeatRequest) -> Message:
    signs = await _beat(context, await _by_token(context, request), request.details, request.identity)
    return RecordActivityTaskHeartbeatResponse(
        cancel_requested=signs.cancel, activity_paused=signs.paused, activity_reset=signs.reset
    )


async def record_activity_task_heartbeat_by_id(
    context: Context, request: RecordActivityTaskHeartbeatByIdRequest
) -> Message:
    signs = await _beat(context, await _by_id(context, request), request.details, request.identity)
    return RecordActivityTaskHeartbeatByIdResponse(
        cancel_requested=signs.cancel, activity_paused=signs.paused, activity_reset=signs.reset
    )
