"""Every command of the worker protocol is handled or refused by name; what was taken back in its task is not sent."""

import pytest
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

from dbos_compat.bridge import commands
from dbos_compat.differences import LEDGER


def test_every_command_of_the_protocol_is_handled_or_in_the_ledger() -> None:
    (variants,) = WorkflowCommand.DESCRIPTOR.oneofs_by_name.values()
    names = {field.name for field in variants.fields}
    handled = set(commands._HANDLERS)
    assert names == handled | set(commands.UNSUPPORTED)
    assert not handled & set(commands.UNSUPPORTED)
    assert set(commands.UNSUPPORTED.values()) <= set(LEDGER)


def test_an_unsupported_command_is_refused_by_its_slug() -> None:
    command = WorkflowCommand()
    command.schedule_nexus_operation.seq = 1
    with pytest.raises(commands.UnsupportedCommand) as refused:
        commands.read(command)
    assert refused.value.slug == "nexus"


def _command(**variant: int) -> commands.Command:
    message = WorkflowCommand()
    ((name, seq),) = variant.items()
    getattr(message, name).seq = seq
    command = commands.read(message)
    assert isinstance(command, commands.Command)
    return command


def test_what_is_asked_for_and_taken_back_in_one_task_is_not_sent() -> None:
    asked = [
        _command(schedule_activity=1),
        _command(start_timer=1),
        _command(schedule_activity=2),
        _command(request_cancel_activity=1),
        _command(cancel_timer=1),
        _command(request_cancel_activity=7),
    ]
    released, unsent = commands.normalise(asked)
    assert [(c.kind, c.seq) for c in released] == [("activity", 2), ("cancel_activity", 7)]
    assert unsent == {1}


def test_the_first_terminal_command_counts_and_comes_last() -> None:
    complete, cancel = WorkflowCommand(), WorkflowCommand()
    complete.complete_workflow_execution.result.data = b"1"
    cancel.cancel_workflow_execution.SetInParent()
    first, second = commands.read(complete), commands.read(cancel)
    assert isinstance(first, commands.Command)
    assert isinstance(second, commands.Command)
    released, _ = commands.normalise([first, _command(start_timer=1), second])
    assert [c.kind for c in released] == ["timer", "complete"]


def test_the_digest_sees_identities_and_order_and_nothing_else() -> None:
    def scheduled(activity_type: str, argument: bytes) -> commands.Command:
        message = WorkflowCommand()
        schedule = message.schedule_activity
        schedule.seq, schedule.activity_id, schedule.activity_type = 1, "1", activity_type
        schedule.arguments.add().data = argument
        command = commands.read(message)
        assert isinstance(command, commands.Command)
        return command

    timer = _command(start_timer=1)
    assert commands.digest([scheduled("a", b"1")]) == commands.digest([scheduled("a", b"2")])
    assert commands.digest([scheduled("a", b"1")]) != commands.digest([scheduled("b", b"1")])
    assert commands.digest([timer, scheduled("a", b"1")]) != commands.digest([scheduled("a", b"1"), timer])


def test_cancels_of_one_kind_that_follow_each_other_may_come_in_another_order() -> None:
    """Temporal's core compares their kind alone, and a task group cancels its tasks in the order of a set."""
    then = [_command(cancel_timer=1), _command(cancel_timer=2), _command(request_cancel_local_activity=5)]
    then += [_command(cancel_timer=3), _command(request_cancel_activity=4), _command(cancel_timer=6)]
    recorded = [{"k": c.kind, "seq": c.seq} for c in then]
    now = [then[3], then[2], then[1], then[0], then[4], then[5]]
    replayed, ahead = commands.as_recorded([*now, _command(start_timer=7)], recorded)
    assert commands.digest(replayed) == commands.digest(then)
    assert [c.kind for c in ahead] == ["timer"]
    assert commands.in_one_order([{"k": c.kind, "seq": c.seq} for c in now]) == commands.in_one_order(recorded)
    other = [then[4], *then[:4], then[5]]  # one of another kind stands between
    assert commands.digest(commands.as_recorded(other, recorded)[0]) != commands.digest(then)


def test_the_text_of_an_activity_is_written_when_it_is_asked_for() -> None:
    command = _command(schedule_activity=3)
    assert callable(command.written)
    text = command.text
    assert text == '{"k":"activity","seq":3,"id":"","type":"","queue":"","in":[]}'
    command.message = None
    assert command.text is text
