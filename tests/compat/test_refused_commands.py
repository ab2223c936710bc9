"""Commands that a server refuses: the task fails with the server's cause and words, and nothing of it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.common import (
    Priority,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)

from .support import (
    BOOL,
    DATETIME,
    INT,
    KEYWORD,
    KEYWORDS,
    MakeWorker,
    add_search_attributes,
    failed_with,
    recorded_failure,
)

SECOND = timedelta(seconds=1)
LESS = timedelta(seconds=-1)
LONG = "n" * 1001

Does = Callable[[], Any]


def act(type_: str = "act", **options: Any) -> Does:
    return lambda: workflow.execute_activity(type_, **{"start_to_close_timeout": SECOND, **options})


def kid(type_: str = "Refused", **options: Any) -> Does:
    return lambda: workflow.start_child_workflow(
        type_, "wait", **{"id": f"{workflow.info().workflow_id}-kid", **options}
    )


def anew(**options: Any) -> Does:
    return lambda: workflow.continue_as_new("wait", **options)


def upsert(update: SearchAttributeUpdate[Any]) -> Does:
    return lambda: workflow.upsert_search_attributes([update])


def signal(workflow_id: str, name: str, run_id: str | None = None) -> Does:
    return lambda: workflow.get_external_workflow_handle(workflow_id, run_id=run_id).signal(name)


def cancel(workflow_id: str, run_id: str | None = None) -> Does:
    return lambda: workflow.get_external_workflow_handle(workflow_id, run_id=run_id).cancel()


def attributes(name: str, value: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword(name), value)])


def word(name: str) -> SearchAttributeUpdate[str]:
    return SearchAttributeKey.for_keyword(name).value_set("x")


async def caught() -> None:
    """The SDK has begun to write the command when it finds the policy wrong."""
    try:
        await act(retry_policy=RetryPolicy(backoff_coefficient=0.5))()
    except ValueError:
        await workflow.sleep(0.01)


async def signalled_child() -> None:
    await (await kid()()).signal("")


async def started_and_cancelled() -> None:
    starting = asyncio.ensure_future(kid()())
    await asyncio.sleep(0)
    await cancel(f"{workflow.info().workflow_id}-kid")()
    await starting


async def taken_back() -> None:
    """What is asked for and cancelled in one task never reaches a server."""
    acting = asyncio.ensure_future(act(start_to_close_timeout=LESS)())
    await asyncio.sleep(0)
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)


A = "BadScheduleActivityAttributes: "
C = "BadStartChildExecutionAttributes: "
N = "BadContinueAsNewAttributes: "
U = "BadSearchAttributes: "
G = "BadSignalWorkflowExecutionAttributes: "
X = "BadRequestCancelExternalWorkflowExecutionAttributes: "
ON_CHILD = "on StartChildWorkflowExecutionCommand"
ON_NEXT = "on ContinueAsNewWorkflowExecutionCommand"
ON_SIGNAL = "on SignalExternalWorkflowExecutionCommand"
ON_CANCEL = "on RequestCancelExternalWorkflowExecutionCommand"
KID = "WorkflowId=<wid>-kid WorkflowType=Refused Namespace=default"
NEXT = 'WorkflowType=Refused TaskQueue=name:"<queue>" kind:TASK_QUEUE_KIND_NORMAL'
TOO_LONG = "Length=1001 Limit=1000"
NOT_INT = f"invalid value for search attribute {INT.name} of type Int: x"
NOT_MINE = "attribute can't be set in SearchAttributes"

ACTIVITIES: dict[str, tuple[Does, str]] = {
    "activity, schedule to close": (
        act(schedule_to_close_timeout=LESS),
        f"{A}invalid ScheduleToCloseTimeout: negative duration",
    ),
    "activity, schedule to start": (
        act(schedule_to_start_timeout=LESS),
        f"{A}invalid ScheduleToStartTimeout: negative duration",
    ),
    "activity, start to close": (
        act(start_to_close_timeout=LESS),
        f"{A}invalid StartToCloseTimeout: negative duration",
    ),
    "activity, heartbeat": (act(heartbeat_timeout=LESS), f"{A}invalid HeartbeatTimeout: negative duration"),
    "activity, no type": (act(""), f"{A}activityType is not set"),
    "activity, the first of two": (act("", start_to_close_timeout=LESS), f"{A}activityType is not set"),
    "activity, long type": (act(LONG), f"{A}activityType exceeds length limit. {TOO_LONG}"),
    "activity, long id": (act(activity_id=LONG), f"{A}activityId exceeds length limit. {TOO_LONG}"),
    "activity, long queue": (act(task_queue=LONG), f"{A}taskQueue length exceeds limit"),
    "activity, reserved queue": (
        act(task_queue="/_sys/q"),
        f"{A}task queue name cannot start with reserved prefix /_sys/",
    ),
    "activity, half a command": (caught, f"{A}missing task queue name"),
    "activity, fairness weight": (
        act(priority=Priority(fairness_weight=-1.0)),
        f"{A}invalid priorities: must be greater than zero",
    ),
    "activity, fairness key": (
        act(priority=Priority(fairness_key="k" * 65)),
        f"{A}invalid priorities: fairness key length exceeds limit",
    ),
}

CHILDREN: dict[str, tuple[Does, str]] = {
    "child, no type": (
        kid(""),
        f"{C}Required field WorkflowType is not set {ON_CHILD}. WorkflowId=<wid>-kid Namespace=default",
    ),
    "child, long type": (
        kid(LONG),
        f"{C}WorkflowType {ON_CHILD} exceeds length limit. WorkflowId=<wid>-kid WorkflowType=<long> {TOO_LONG} "
        "Namespace=default",
    ),
    "child, long id": (
        kid(id=LONG),
        f"{C}WorkflowId {ON_CHILD} exceeds length limit. WorkflowId=<long> {TOO_LONG} WorkflowType=Refused "
        "Namespace=default",
    ),
    "child, execution timeout": (
        kid(execution_timeout=LESS),
        f"{C}Invalid WorkflowExecutionTimeout {ON_CHILD}: negative duration. {KID}",
    ),
    "child, run timeout": (
        kid(run_timeout=LESS),
        f"{C}Invalid WorkflowRunTimeout {ON_CHILD}: negative duration. {KID}",
    ),
    "child, task timeout": (
        kid(task_timeout=LESS),
        f"{C}Invalid WorkflowTaskTimeout {ON_CHILD}: negative duration. {KID}",
    ),
    "child, cron": (
        kid(cron_schedule="sometimes"),
        f"{C}invalid CronSchedule {ON_CHILD}: invalid CronSchedule.. {KID}",
    ),
    "child, attribute of the system": (
        kid(search_attributes=attributes("WorkflowId", "x")),
        f"{U}invalid SearchAttributes on StartChildWorkflowCommand: WorkflowId {NOT_MINE}. {KID}",
    ),
    "child, attribute's type": (
        kid(search_attributes=attributes(INT.name, "x")),
        f"{U}invalid SearchAttributes on StartChildWorkflowCommand: {NOT_INT}. {KID}",
    ),
    "child, fairness key": (
        kid(priority=Priority(fairness_key="k" * 65)),
        f"{C}fairness key length exceeds limit",
    ),
    "child, long queue": (
        kid(task_queue=LONG),
        f"{C}invalid TaskQueue {ON_CHILD}: taskQueue length exceeds limit. {KID} "
        'TaskQueue=name:"<long>" kind:TASK_QUEUE_KIND_NORMAL',
    ),
}

NEXT_RUNS: dict[str, tuple[Does, str]] = {
    "next run, run timeout": (
        anew(run_timeout=LESS),
        f"{N}Invalid WorkflowRunTimeout {ON_NEXT}: negative duration. {NEXT}",
    ),
    "next run, task timeout": (
        anew(task_timeout=LESS),
        f"{N}Invalid WorkflowTaskTimeout {ON_NEXT}: negative duration. {NEXT}",
    ),
    "next run, long type": (
        anew(workflow=LONG),
        f"{N}WorkflowType {ON_NEXT} exceeds length limit. WorkflowType=<long> {TOO_LONG}",
    ),
    "next run, long queue": (
        anew(task_queue=LONG),
        f"{N}error validating ContinueAsNewWorkflowExecutionCommand TaskQueue: taskQueue length exceeds limit. "
        'WorkflowType=Refused TaskQueue=name:"<long>" kind:TASK_QUEUE_KIND_NORMAL',
    ),
    "next run, attribute's type": (
        anew(search_attributes=attributes(INT.name, "x")),
        f"{U}invalid SearchAttributes {ON_NEXT}: {NOT_INT}. {NEXT}",
    ),
}

UPSERTS: dict[str, tuple[Does, str]] = {
    "upsert, id": (upsert(word("WorkflowId")), f"{U}WorkflowId {NOT_MINE}"),
    "upsert, status": (upsert(word("ExecutionStatus")), f"{U}ExecutionStatus {NOT_MINE}"),
    "upsert, versioning": (upsert(word("TemporalWorkerDeployment")), f"{U}TemporalWorkerDeployment {NOT_MINE}"),
    "upsert, int": (upsert(word(INT.name)), f"{U}{NOT_INT}"),
    "upsert, datetime": (
        upsert(word(DATETIME.name)),
        f"{U}invalid value for search attribute {DATETIME.name} of type Datetime: x",
    ),
    "upsert, bool": (
        upsert(SearchAttributeKey.for_int(BOOL.name).value_set(3)),
        f"{U}invalid value for search attribute {BOOL.name} of type Bool: 3",
    ),
    "upsert, keywords": (
        upsert(word(KEYWORDS.name)),
        f"{U}invalid value for search attribute {KEYWORDS.name} of type KeywordList: x",
    ),
}

OTHERS: dict[str, tuple[Does, str]] = {
    "signal, no id": (signal("", "s"), f"{G}WorkflowId is not set {ON_SIGNAL}. Namespace=default RunId= SignalName=s"),
    "signal, long id": (
        signal(LONG, "s"),
        f"{G}WorkflowId {ON_SIGNAL} exceeds length limit. WorkflowId=<long> {TOO_LONG} Namespace=default RunId= "
        "SignalName=s",
    ),
    "signal, no name": (
        signal("x", ""),
        f"{G}SignalName is not set {ON_SIGNAL}. WorkflowId=x Namespace=default RunId=",
    ),
    "signal, run id": (
        signal("x", "s", "bad"),
        f"{G}Invalid RunId set {ON_SIGNAL}. WorkflowId=x Namespace=default RunId=bad SignalName=s",
    ),
    "signal to a child, no name": (
        signalled_child,
        f"{G}SignalName is not set {ON_SIGNAL}. WorkflowId=<wid>-kid Namespace=default RunId=",
    ),
    "cancel, no id": (cancel(""), f"{X}WorkflowId is not set {ON_CANCEL}. Namespace=default RunId="),
    "cancel, long id": (
        cancel(LONG),
        f"{X}WorkflowId {ON_CANCEL} exceeds length limit. WorkflowId=<long> {TOO_LONG} RunId= Namespace=default",
    ),
    "cancel, run id": (
        cancel("x", "bad"),
        f"{X}Invalid RunId set {ON_CANCEL}. WorkflowId=x RunId=bad Namespace=default",
    ),
    "cancel of a child in the task that starts it": (
        started_and_cancelled,
        f"{X}Start and RequestCancel for child workflow is not allowed in same workflow task. WorkflowId=<wid>-kid "
        "RunId= Namespace=default",
    ),
}

CASES = ACTIVITIES | CHILDREN | NEXT_RUNS | UPSERTS | OTHERS

TOO_BIG = f"search attribute {KEYWORD.name} value size 3002 exceeds size limit 2048"

ENDING: dict[str, tuple[Does, str]] = {
    "upsert": (upsert(KEYWORD.value_set("x" * 3000)), f"{U}{TOO_BIG}"),
    "child": (kid(search_attributes=attributes(KEYWORD.name, "x" * 3000)), f"{C}{TOO_BIG}"),
    "next run": (anew(search_attributes=attributes(KEYWORD.name, "x" * 3000)), f"{N}{TOO_BIG}"),
}

FINE: dict[str, Does] = {
    "taken back": taken_back,
    "an attribute is unset": upsert(INT.value_unset()),
    "an int for a double": upsert(SearchAttributeKey.for_int("CompatDouble").value_set(3)),
    "a name of 1,000 bytes": act(LONG[1:], schedule_to_close_timeout=timedelta(milliseconds=50)),
}


@workflow.defn
class Refused:
    @workflow.run
    async def run(self, case: str) -> str:
        does = CASES[case][0] if case in CASES else ENDING[case][0] if case in ENDING else FINE.get(case)
        if does is None:
            await workflow.sleep(60)
            return ""
        doing: Awaitable[Any] | None = does()
        if doing is not None:
            try:
                await doing
            except workflow.ContinueAsNewError:
                raise
            except Exception as error:
                return type(error).__name__
        return "done"


def as_expected(text: str, wid: str, queue: str) -> str:
    """Go's text of a message has one or two blanks, which depends on how the server was built."""
    for was, shown in ((LONG, "<long>"), (f"{wid}-kid", "<wid>-kid"), (queue, "<queue>")):
        text = text.replace(was, shown)
    return " ".join(text.split())


@pytest.mark.no_replay("the workflow code is broken on purpose")
@pytest.mark.parametrize("case", CASES)
async def test_a_command_is_refused(client: Client, make_worker: MakeWorker, queue: str, wid: str, case: str) -> None:
    await add_search_attributes(client)
    async with make_worker(client, task_queue=queue, workflows=[Refused]):
        handle = await client.start_workflow(Refused.run, case, id=wid, task_queue=queue)
        cause, failure = await recorded_failure(handle)
        await handle.terminate()
    assert as_expected(failure.message, wid, queue) == as_expected(CASES[case][1], wid, queue)
    words = cause.removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").replace("_", "").lower()
    assert failure.message.lower().startswith(f"{words}: ")
    assert failure.HasField("server_failure_info")


@pytest.mark.no_replay("the workflow code is broken on purpose")
@pytest.mark.parametrize("case", ENDING)
async def test_an_attribute_that_is_too_big_ends_the_run(
    client: Client, make_worker: MakeWorker, queue: str, wid: str, case: str
) -> None:
    message = ENDING[case][1]
    async with make_worker(client, task_queue=queue, workflows=[Refused]):
        handle = await client.start_workflow(Refused.run, case, id=wid, task_queue=queue)
        with failed_with(f"TerminatedError {message!r}"):
            await handle.result()
        history = await handle.fetch_history()
    assert [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events] == [
        "WORKFLOW_EXECUTION_STARTED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_FAILED",
        "WORKFLOW_EXECUTION_TERMINATED",
    ]
    ended = history.events[-1].workflow_execution_terminated_event_attributes
    assert (ended.reason, ended.identity) == (message, "history-service")


@pytest.mark.parametrize("case", FINE)
async def test_what_is_taken(client: Client, make_worker: MakeWorker, queue: str, wid: str, case: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Refused]):
        handle = await client.start_workflow(Refused.run, case, id=wid, task_queue=queue)
        assert await handle.result() == ("ActivityError" if case.startswith("a name") else "done")
