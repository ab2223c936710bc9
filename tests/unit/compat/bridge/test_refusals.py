"""What a Temporal server or its Rust worker refuses of a task's commands and of an attempt's outcome."""

from __future__ import annotations

import json

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto import ActivityTaskCompletion
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from dbos_compat.bridge.activations import PendingActivity
from dbos_compat.bridge.activity_tasks import outcome_of
from dbos_compat.bridge.commands import Command, read
from dbos_compat.bridge.refusals import (
    BLOB_BYTES_MAX,
    TaskFailed,
    application_failure,
    check_activity_ids,
    check_sizes,
    limited,
    names_its_activities,
    too_large,
)
from dbos_compat.convert.failures import failure
from dbos_compat.history.failed_tasks import cause_name
from dbos_core.activities.spec import OutcomeKind


def text(size: int) -> Payload:
    """A JSON payload whose ``Payloads``, which Temporal's core measures, has this size."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"x" * size)
    excess = Payloads(payloads=[payload]).ByteSize() - size
    payload.data = b'"' + b"x" * (size - excess - 2) + b'"'
    while (missing := size - Payloads(payloads=[payload]).ByteSize()) > 0:
        payload.data = b'"' + b"x" * (len(payload.data) - 2 + missing) + b'"'
    return payload


def wide(characters: int) -> Payload:
    """A payload with four bytes to each character of its text."""
    return Payload(metadata={"encoding": b"json/plain"}, data=('"' + "🎈" * characters + '"').encode())


def scheduled(seq: int, activity_id: str, *arguments: Payload) -> Command:
    message = WorkflowCommand()
    activity = message.schedule_activity
    activity.seq, activity.activity_id, activity.activity_type, activity.task_queue = seq, activity_id, "pack", "q"
    activity.arguments.extend(arguments)
    return taken(message)


def taken(message: WorkflowCommand) -> Command:
    command = read(message)
    assert isinstance(command, Command)
    return command


def completed(result: Payload) -> Command:
    message = WorkflowCommand()
    message.complete_workflow_execution.result.CopyFrom(result)
    return taken(message)


def cancelled(seq: int) -> Command:
    message = WorkflowCommand()
    message.request_cancel_activity.seq = seq
    return taken(message)


def memo(value: Payload) -> Command:
    message = WorkflowCommand()
    message.modify_workflow_properties.upserted_memo.fields["m"].CopyFrom(value)
    return taken(message)


def failed(details: Payload) -> Command:
    message = WorkflowCommand()
    failure = message.fail_workflow_execution.failure
    failure.message = "no"
    failure.application_failure_info.details.payloads.append(details)
    return taken(message)


def updated(result: Payload) -> Command:
    message = WorkflowCommand()
    message.update_response.protocol_instance_id = "u"
    message.update_response.completed.CopyFrom(result)
    return taken(message)


def pending(activity_id: str) -> PendingActivity:
    return PendingActivity(activity_id, "pack", 0, 5)


MAKERS = [completed, memo, failed, updated, lambda payload: scheduled(1, "1", payload)]


@pytest.mark.parametrize("make", MAKERS)
def test_a_command_beyond_the_limit_is_refused(make) -> None:
    with pytest.raises(TaskFailed) as refused:
        check_sizes([make(text(100)), make(text(BLOB_BYTES_MAX + 100))])
    assert refused.value.cause == "PAYLOADS_TOO_LARGE"
    assert refused.value.failure == too_large()


@pytest.mark.parametrize("make", MAKERS)
def test_a_command_within_the_limit_passes(make) -> None:
    check_sizes([make(text(BLOB_BYTES_MAX - 1000)), make(text(100))])


def test_the_limit_is_met_to_the_byte() -> None:
    assert Payloads(payloads=[text(BLOB_BYTES_MAX)]).ByteSize() == BLOB_BYTES_MAX
    check_sizes([completed(text(BLOB_BYTES_MAX))])
    with pytest.raises(TaskFailed):
        check_sizes([completed(text(BLOB_BYTES_MAX + 1))])


def test_bytes_count_and_not_characters() -> None:
    with pytest.raises(TaskFailed):
        check_sizes([completed(wide(BLOB_BYTES_MAX // 4 + 1))])


def test_many_commands_may_be_larger_together() -> None:
    check_sizes([scheduled(seq, str(seq), text(BLOB_BYTES_MAX - 1000)) for seq in range(3)])


def test_an_answer_beyond_the_limit_is_a_failure() -> None:
    assert limited(text(BLOB_BYTES_MAX)).payloads
    refused = limited(text(BLOB_BYTES_MAX + 1)).failure
    assert refused is not None
    assert refused.message == "Blob data size exceeds limit."


def test_one_id_twice_in_a_task_is_refused() -> None:
    with pytest.raises(TaskFailed) as refused:
        check_activity_ids([scheduled(1, "same"), scheduled(2, "same")], {}, set())
    assert refused.value.cause == "SCHEDULE_ACTIVITY_DUPLICATE_ID"
    assert refused.value.failure.message.endswith("ActivityID: same")
    assert refused.value.failure.HasField("server_failure_info")


def test_the_id_of_an_open_activity_is_refused() -> None:
    with pytest.raises(TaskFailed):
        check_activity_ids([scheduled(2, "same")], {1: pending("same")}, set())


def test_an_id_of_ones_own_may_meet_an_id_of_the_sdk() -> None:
    with pytest.raises(TaskFailed):
        check_activity_ids([scheduled(2, "2")], {1: pending("2")}, set())


def test_the_id_is_free_when_its_activity_ends_in_this_task_or_is_given_up() -> None:
    check_activity_ids([scheduled(2, "same")], {1: pending("same")}, {1})
    check_activity_ids([cancelled(1), scheduled(2, "same")], {1: pending("same")}, set())


def test_ids_of_the_sdk_are_no_names() -> None:
    assert not names_its_activities([scheduled(1, "1"), cancelled(1)])
    assert names_its_activities([scheduled(1, "1"), scheduled(2, "mine")])


def test_every_cause_of_the_protocol_has_a_name() -> None:
    for number in WorkflowTaskFailedCause.values():
        name = cause_name(number)
        assert number == 0 or WorkflowTaskFailedCause.Value(f"WORKFLOW_TASK_FAILED_CAUSE_{name}") == number
    assert cause_name(0) == "WORKFLOW_WORKER_UNHANDLED_FAILURE"


def result_of(result: Payload, **options: bool):
    completion = ActivityTaskCompletion(task_token=b"t")
    completion.result.completed.result.CopyFrom(result)
    return outcome_of(completion, "w", **options)


def test_a_result_beyond_the_limit_fails_the_attempt_which_may_be_repeated() -> None:
    outcome = result_of(text(BLOB_BYTES_MAX + 1))
    assert (outcome.kind, outcome.error_type, outcome.non_retryable) == (OutcomeKind.FAILED, "PayloadsTooLarge", False)


def test_a_result_within_the_limit_or_without_one_is_a_result() -> None:
    assert result_of(text(BLOB_BYTES_MAX)).kind is OutcomeKind.COMPLETED
    assert result_of(text(2 * BLOB_BYTES_MAX), limit_payloads=False).kind is OutcomeKind.COMPLETED


def test_a_failure_beyond_the_limit_is_cut_short_and_final() -> None:
    completion = ActivityTaskCompletion(task_token=b"t")
    given = application_failure("boom", "Big")
    given.application_failure_info.details.payloads.append(text(BLOB_BYTES_MAX + 1))
    given.stack_trace = "here"
    completion.result.failed.failure.CopyFrom(given)

    outcome = outcome_of(completion, "w")

    assert outcome is not None
    assert (outcome.kind, outcome.non_retryable) == (OutcomeKind.FAILED, True)
    assert outcome.record is not None
    made = failure(json.loads(outcome.record))
    expected = Failure(message="Failure exceeds size limit.")
    expected.server_failure_info.non_retryable = True
    expected.cause.CopyFrom(application_failure("boom", "Big"))
    expected.cause.stack_trace = "here"
    assert made == expected
