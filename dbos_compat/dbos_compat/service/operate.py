"""An operator's commands to open activities: pause, unpause, reset, other options; by id, by type, or all of a run.

As with completion from outside (``activities``) the process that owns the run is asked, and answers once the command
is durable. Where nobody has the run, the command is left in its mailbox, and its next owner begins with it.
"""

from __future__ import annotations

import json
import random
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from dbos_compat.convert.payloads import dumps
from dbos_compat.convert.times import duration_ms
from dbos_compat.errors import already_completed, invalid, not_found, timeout_expired
from dbos_compat.service.activity_options import asked, changes, options_of
from dbos_compat.service.common import Context, check_nul, find_run
from dbos_compat.service.pending import open_activities, operated
from dbos_core.activities.operating import Deed, OperatorCommand, changed
from dbos_core.activities.service import Answer
from dbos_core.activities.spec import ActivitySpec
from dbos_core.activities.wire import command_mail
from dbos_core.commit import LoadedRun, Mail, RunRow, RunStatus, Verdict
from dbos_core.mailbox import ACTIVITY, OWN_ID
from dbos_core.questions import QuestionFailed

OPERATE = "activity.operate"
ASK_S = 5.0
"""How long the owner of a run may take to answer before the mailbox is used."""

Request = PauseActivityRequest | UnpauseActivityRequest | ResetActivityRequest | UpdateActivityOptionsRequest


def _none_such() -> Exception:
    return not_found("Can't find pending activity with such ID. Invalid activityID or activity already completed")


# -- the RPCs ----------------------------------------------------------------------------------------------------------


async def pause_activity(context: Context, request: PauseActivityRequest) -> Message:
    check_nul(request.reason, "Reason")
    command = OperatorCommand(do=Deed.PAUSE, reason=request.reason, **_by(context, request))
    await _operate(context, request, command)
    return PauseActivityResponse()


async def unpause_activity(context: Context, request: UnpauseActivityRequest) -> Message:
    command = OperatorCommand(
        do=Deed.UNPAUSE,
        reset_attempts=request.reset_attempts,
        reset_heartbeat=request.reset_heartbeat,
        delay_ms=_drawn(request.jitter),
        **_by(context, request),
    )
    await _operate(context, request, command)
    return UnpauseActivityResponse()


async def reset_activity(context: Context, request: ResetActivityRequest) -> Message:
    command = OperatorCommand(
        do=Deed.RESET,
        reset_heartbeat=request.reset_heartbeat,
        keep_paused=request.keep_paused,
        restore=request.restore_original_options,
        delay_ms=_drawn(request.jitter),
        **_by(context, request),
    )
    await _operate(context, request, command)
    return ResetActivityResponse()


async def update_activity_options(context: Context, request: UpdateActivityOptionsRequest) -> Message:
    _check_selected(request)
    if not request.restore_original:
        if not request.HasField("activity_options"):
            raise invalid("ActivityOptions are not provided")
        if not request.HasField("update_mask"):
            raise invalid("UpdateMask is not provided")
    elif request.HasField("update_mask"):
        raise invalid("Both UpdateMask and RestoreOriginal are provided")
    command = OperatorCommand(do=Deed.OPTIONS, **_by(context, request))
    options = await _operate(context, request, command)
    response = UpdateActivityOptionsResponse()
    if options is not None:
        response.activity_options.CopyFrom(options)
        response.activity_options.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
    return response


def _by(context: Context, request: Request) -> dict[str, Any]:
    check_nul(request.identity, "Identity")
    return {"identity": request.identity, "at_ms": context.kernel.clock.now_ms()}


def _drawn(jitter: Duration) -> int:
    return random.randint(0, max(0, duration_ms(jitter)))


# -- who is meant ------------------------------------------------------------------------------------------------------


def _check_selected(request: Request) -> None:
    if request.WhichOneof("activity") is None:
        raise invalid("Either Activity.Id or Activity.Type should be set on request.")


def _selected(request: Request, loaded: LoadedRun) -> dict[int, tuple[dict[str, Any], int]]:
    """seq → (what the workflow asked for, when) of the open activities that a request means."""
    which = request.WhichOneof("activity")
    found = {}
    for seq, (command, at_ms, _) in open_activities(loaded).items():
        if which == "id" and command["id"] != request.id:
            continue
        if which == "type" and command["type"] != request.type:
            continue
        found[seq] = command, at_ms
    if not found and which in ("id", "type"):
        raise _none_such()
    return found


# -- asking ------------------------------------------------------------------------------------------------------------


async def _operate(context: Context, request: Request, command: OperatorCommand) -> ActivityOptions | None:
    """Carry it out on every activity that is meant. The answer: options of the last one."""
    _check_selected(request)
    run = await find_run(context, request.execution)
    if run.status is not RunStatus.RUNNING:
        raise _none_such() if command.do is Deed.OPTIONS else already_completed()
    loaded = await context.kernel.load(run.workflow_uuid)
    if loaded is None or loaded.run.status is not RunStatus.RUNNING:
        raise already_completed()
    run, meant = loaded.run, _selected(request, loaded)
    wanted = request if isinstance(request, UpdateActivityOptionsRequest) else None
    if run.owner is None and not context.kernel.serves(run.task_queue):
        return await _leave_in_mailbox(context, loaded, meant, command, wanted)
    question = {"seqs": list(meant), "command": command.fields()}
    if wanted is not None:
        question["options"] = b64encode(wanted.SerializeToString()).decode()
    try:
        answer = json.loads(await context.kernel.request(run, OPERATE, dumps(question), ASK_S))
    except TimeoutError:
        return await _leave_in_mailbox(context, loaded, meant, command, wanted)
    except QuestionFailed as error:
        now = await context.kernel.find(run.workflow_id, run.run_id)
        if now is None or now.status is not RunStatus.RUNNING:
            raise already_completed() from None
        raise timeout_expired() from error
    if answer.get("invalid"):
        raise invalid(answer["invalid"])
    if meant and Answer(answer["answer"]) is not Answer.OK:
        raise _none_such() if Answer(answer["answer"]) is Answer.NOT_FOUND else timeout_expired()
    return ActivityOptions.FromString(b64decode(answer["options"])) if answer.get("options") else None


async def _leave_in_mailbox(
    context: Context,
    loaded: LoadedRun,
    meant: dict[int, tuple[dict[str, Any], int]],
    command: OperatorCommand,
    wanted: UpdateActivityOptionsRequest | None,
) -> ActivityOptions | None:
    """Nobody who could run the workflow is alive: make the command durable for whoever comes."""
    options = None
    for seq, (asked_for, at_ms) in meant.items():
        original = asked(asked_for, at_ms, loaded.run)
        one = command
        if wanted is not None:
            one = _with_options(command, wanted, original, changed(original, operated(loaded, seq).changes), loaded.run)
            options = options_of(changed(original, one.changes))
        mail = Mail(
            mail_id=f"{OWN_ID}{loaded.run.run_id}:p:{context.kernel.entropy.uuid()}",
            workflow_uuid=loaded.run.workflow_uuid,
            topic=ACTIVITY,
            message=command_mail(seq, one),
        )
        if await context.kernel.send(mail) is Verdict.RUN_CLOSED:
            raise already_completed()
    return options


def _with_options(
    command: OperatorCommand,
    wanted: UpdateActivityOptionsRequest,
    original: ActivitySpec,
    current: ActivitySpec,
    run: RunRow,
) -> OperatorCommand:
    if wanted.restore_original:
        return replace(command, changes={})
    return replace(command, changes=changes(original, current, wanted.activity_options, wanted.update_mask.paths, run))


# -- answering, in the process that owns the run -----------------------------------------------------------------------


def register(context: Context) -> None:
    """Let this process answer about the runs that live here."""

    async def operate(run: RunRow, text: str) -> str:
        question = json.loads(text)
        command = OperatorCommand.read(question["command"])
        wanted = None
        if "options" in question:
            wanted = UpdateActivityOptionsRequest.FromString(b64decode(question["options"]))
        try:
            return dumps(await _carry_out(context, run, question["seqs"], command, wanted))
        except Exception as error:
            message = getattr(error, "message", None)
            if message is None:
                raise
            return dumps({"invalid": message})

    context.kernel.questions.register(OPERATE, operate)


async def _carry_out(
    context: Context,
    run: RunRow,
    seqs: Iterable[int],
    command: OperatorCommand,
    wanted: UpdateActivityOptionsRequest | None,
) -> dict[str, Any]:
    service = context.kernel.activities
    answer, options = Answer.NOT_FOUND, None
    prepared: list[tuple[int, OperatorCommand]] = []
    for seq in seqs:
        machine = service.machine_of(run.workflow_uuid, seq)
        if machine is None:
            continue
        one = command
        if wanted is not None:
            one = _with_options(command, wanted, machine.asked, machine.spec, run)
            options = options_of(changed(machine.asked, one.changes))
        prepared.append((seq, one))
    for seq, one in prepared:
        told = await service.operate(run.workflow_uuid, seq, one)
        answer = told if told is not Answer.NOT_FOUND else answer
    result: dict[str, Any] = {"answer": answer.value}
    if options is not None:
        result["options"] = b64encode(options.SerializeToString()).decode()
    return result
