"""Workflow retry policies, and the timeouts of a run and of a whole chain."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import ContinueAsNewInitiator
from temporalio.api.history.v1 import WorkflowExecutionContinuedAsNewEventAttributes
from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistoryEventFilterType,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from .chains import began, ended, has_runs, retry_states, runs
from .support import KEYWORD, MakeWorker, chain, eventually

QUICK = timedelta(milliseconds=100)


@workflow.defn(name="persistent")
class Persistent:
    """Fails until its n-th attempt."""

    @workflow.run
    async def run(self, until: int, kind: str) -> str:
        info = workflow.info()
        workflow.upsert_memo({"attempt": info.attempt})
        workflow.upsert_search_attributes([KEYWORD.value_set(f"attempt {info.attempt}")])
        if info.attempt < until:
            if kind == "delay":
                raise ApplicationError("later", next_retry_delay=timedelta(seconds=30))
            raise ApplicationError(f"try {info.attempt}", "details", type=kind, non_retryable=kind == "never")
        return f"{info.attempt}, after {workflow.get_last_failure()}, {workflow.memo_value('began', 0)}"


@workflow.defn(name="sleeper")
class Sleeper:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(60)


async def test_a_failed_workflow_is_tried_again(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Persistent]):
        handle = await client.start_workflow(
            Persistent.run,
            args=[3, "Odd"],
            id=wid,
            task_queue=queue,
            memo={"began": 5},
            retry_policy=RetryPolicy(initial_interval=QUICK, maximum_attempts=5),
        )
        assert await handle.result() == "3, after Odd: try 2, 5"
    histories = await runs(client, handle)
    assert [ended(events) for events in histories] == ["FAILED", "FAILED", "COMPLETED"]
    assert retry_states(histories[:2]) == ["IN_PROGRESS", "IN_PROGRESS"]
    for number, events in enumerate(histories[1:], 2):
        started = began(events)
        assert started.attempt == number
        assert started.initiator == ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY
        assert started.continued_failure.message == f"try {number - 1}"
        assert started.first_execution_run_id == handle.first_execution_run_id
        assert started.original_execution_run_id != handle.first_execution_run_id
        assert started.retry_policy.maximum_interval.seconds == 10
        assert set(started.memo.fields) == {"began"}
        assert not started.search_attributes.indexed_fields
        assert not started.HasField("last_completion_result")


async def test_the_last_attempt_says_why(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Persistent]):
        cases = {
            "MAXIMUM_ATTEMPTS_REACHED": ("Odd", RetryPolicy(initial_interval=QUICK, maximum_attempts=2), 2),
            "NON_RETRYABLE_FAILURE": ("never", RetryPolicy(initial_interval=QUICK), 1),
            "NON_RETRYABLE_FAILURE ": (
                "Odd",
                RetryPolicy(initial_interval=QUICK, non_retryable_error_types=["Odd"]),
                1,
            ),
            "RETRY_POLICY_NOT_SET": ("Odd", None, 1),
        }
        for number, (state, (kind, policy, attempts)) in enumerate(cases.items()):
            handle = await client.start_workflow(
                Persistent.run, args=[9, kind], id=f"{wid}-{number}", task_queue=queue, retry_policy=policy
            )
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()
            assert chain(failed.value.cause)[0].startswith(f"ApplicationError 'try {attempts}' type={kind}")
            histories = await runs(client, handle)
            assert len(histories) == attempts
            assert retry_states(histories)[-1] == state.strip()


async def test_no_attempt_begins_after_the_time_of_the_chain(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Persistent]):
        handle = await client.start_workflow(
            Persistent.run,
            args=[9, "Odd"],
            id=wid,
            task_queue=queue,
            execution_timeout=timedelta(seconds=3),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1.1)),
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value.cause)[0].startswith("ApplicationError 'try 2'")
    histories = await runs(client, handle)
    assert retry_states(histories) == ["IN_PROGRESS", "TIMEOUT"]
    assert began(histories[1]).first_workflow_task_backoff.ToTimedelta() == timedelta(seconds=1.1)


async def test_the_delay_that_a_failure_asks_for_is_for_activities(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Persistent]):
        handle = await client.start_workflow(
            Persistent.run,
            args=[2, "delay"],
            id=wid,
            task_queue=queue,
            retry_policy=RetryPolicy(initial_interval=QUICK, maximum_interval=QUICK),
        )
        await handle.result()
    _, second = await runs(client, handle)
    assert began(second).first_workflow_task_backoff.ToTimedelta() < timedelta(seconds=2)


async def test_a_run_that_times_out_is_tried_again(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sleeper]):
        handle = await client.start_workflow(
            Sleeper.run,
            id=wid,
            task_queue=queue,
            run_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(initial_interval=QUICK, maximum_attempts=2),
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value.cause) == ["TimeoutError 'Workflow timed out' START_TO_CLOSE"]
    histories = await runs(client, handle)
    assert [ended(events) for events in histories] == ["TIMED_OUT", "TIMED_OUT"]
    assert retry_states(histories) == ["IN_PROGRESS", "MAXIMUM_ATTEMPTS_REACHED"]
    failure = began(histories[1]).continued_failure
    assert (failure.message, failure.source) == ("workflow timeout", "Server")
    assert failure.timeout_failure_info.timeout_type == 1


async def test_who_wants_one_run_only_hears_that_another_one_follows(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    """Whatever the run has ended in."""
    policy = RetryPolicy(initial_interval=QUICK, maximum_attempts=2)
    async with make_worker(client, task_queue=queue, workflows=[Persistent, Sleeper]):
        failing = await client.start_workflow(
            Persistent.run, args=[9, "Odd"], id=f"{wid}-fails", task_queue=queue, retry_policy=policy
        )
        sleeping = await client.start_workflow(
            Sleeper.run, id=f"{wid}-sleeps", task_queue=queue, retry_policy=policy, run_timeout=timedelta(seconds=1)
        )
        for handle, ending in ((failing, "try 2"), (sleeping, "Workflow timed out")):
            with pytest.raises(WorkflowContinuedAsNewError) as continued:
                await handle.result(follow_runs=False)
            with pytest.raises(WorkflowFailureError, match="Workflow execution failed") as failed:
                await handle.result()
            assert ending in chain(failed.value.cause)[0]
            first, second = await runs(client, handle)
            assert continued.value.new_execution_run_id == began(second).original_execution_run_id
            (event,) = [
                event
                async for event in client.get_workflow_handle(
                    handle.id, run_id=handle.first_execution_run_id
                ).fetch_history_events(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT)
            ]
            assert event.event_id == first[-1].event_id
            assert event.workflow_execution_continued_as_new_event_attributes == (
                WorkflowExecutionContinuedAsNewEventAttributes(
                    new_execution_run_id=continued.value.new_execution_run_id,
                    failure=began(second).continued_failure,
                )
            )
            last = client.get_workflow_handle(handle.id, run_id=continued.value.new_execution_run_id)
            with pytest.raises(WorkflowFailureError):
                await last.result(follow_runs=False)


async def test_what_was_said_of_the_start_is_said_of_its_run_alone(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Persistent]):
        handle = await client.start_workflow(
            Persistent.run,
            args=[2, "Odd"],
            id=wid,
            task_queue=queue,
            retry_policy=RetryPolicy(initial_interval=QUICK),
            static_summary="in short",
            static_details="at length",
        )
        await handle.result()
    first, second = await runs(client, handle)
    assert first[0].HasField("user_metadata")
    assert not second[0].HasField("user_metadata")
    described = await client.get_workflow_handle(wid).describe()
    assert (await described.static_summary(), await described.static_details()) == (None, None)
    described = await client.get_workflow_handle(wid, run_id=handle.first_execution_run_id).describe()
    assert await described.static_summary() == "in short"


async def test_the_time_of_the_chain_ends_it(client: Client, make_worker: MakeWorker, queue: str, wid: str) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sleeper]):
        handle = await client.start_workflow(
            Sleeper.run,
            id=wid,
            task_queue=queue,
            run_timeout=timedelta(seconds=1),
            execution_timeout=timedelta(seconds=2),
            retry_policy=RetryPolicy(initial_interval=QUICK),
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert chain(failed.value.cause) == ["TimeoutError 'Workflow timed out' START_TO_CLOSE"]
    histories = await runs(client, handle)
    assert retry_states(histories) == ["IN_PROGRESS", "TIMEOUT"]
    described = await client.get_workflow_handle(wid).describe()
    assert described.status == WorkflowExecutionStatus.TIMED_OUT
    expires = began(histories[0]).workflow_execution_expiration_time
    assert described.raw_description.workflow_extended_info.execution_expiration_time == expires


async def test_timeouts_need_no_worker(client: Client, queue: str, wid: str) -> None:
    handle = await client.start_workflow(
        Sleeper.run,
        id=wid,
        task_queue=queue,
        run_timeout=timedelta(seconds=1),
        retry_policy=RetryPolicy(initial_interval=QUICK, maximum_attempts=2),
    )
    histories = await has_runs(client, handle, 2)

    async def timed_out() -> None:
        assert (await handle.describe()).status == WorkflowExecutionStatus.TIMED_OUT

    await eventually(timed_out)
    histories = await runs(client, handle)
    assert [ended(events) for events in histories] == ["TIMED_OUT", "TIMED_OUT"]
    with pytest.raises(WorkflowFailureError):
        await handle.result()


async def test_refused_policies(client: Client, queue: str, wid: str) -> None:
    cases: dict[str, dict[str, Any]] = {
        "BackoffCoefficient cannot be less than 1 on retry policy.": {"backoff_coefficient": 0.5},
        "MaximumInterval cannot be less than InitialInterval on retry policy.": {
            "initial_interval": timedelta(seconds=5),
            "maximum_interval": timedelta(seconds=1),
        },
        "Invalid timeout type value: Nonsense.": {"non_retryable_error_types": ["TemporalTimeout:Nonsense"]},
    }
    for message, fields in cases.items():
        policy = RetryPolicy()
        for name, value in fields.items():
            setattr(policy, name, value)
        policy._validate = lambda: None  # type: ignore[method-assign]  # what the server says, not the SDK
        with pytest.raises(RPCError) as refused:
            await client.start_workflow(Sleeper.run, id=wid, task_queue=queue, retry_policy=policy)
        assert refused.value.message == message


async def test_a_cancelled_workflow_is_not_tried_again(
    client: Client, make_worker: MakeWorker, queue: str, wid: str
) -> None:
    async with make_worker(client, task_queue=queue, workflows=[Sleeper]):
        handle = await client.start_workflow(
            Sleeper.run, id=wid, task_queue=queue, retry_policy=RetryPolicy(initial_interval=QUICK)
        )
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
        assert len(await runs(client, handle)) == 1
