"""What can be known afterwards: the ledger of the activities, the journals in the database, and the promises.

The ledger says what ran, the journal what the engine holds to be true. Every check compares the two.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from tests.crash.programs.workload import WORKFLOWS

REPLAYED_MAX = 40


@dataclass(frozen=True)
class Ran:
    """One execution of an activity: a line of the ledger."""

    workflow_id: str
    activity: str
    activity_id: str
    attempt: int
    maximum: int | None
    pid: int
    at: float


_BEGINS = '{"what": '


def _read(line: str) -> dict[str, Any]:
    """One line. A process that was killed in the middle of writing leaves a beginning, on which the next line follows:
    it did not come to what it wanted to write down."""
    read: dict[str, Any] = json.loads(line[line.rindex(_BEGINS) :])
    return read


class Ledger:
    """The file that the programs write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, what: str) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        complete = [line for line in self.path.read_text().split("\n")[:-1] if line]
        return [line for line in map(_read, complete) if line["what"] == what]

    def ran(self, workflow_id: str | None = None) -> list[Ran]:
        """Every execution of an activity, oldest first."""
        return [
            Ran(line["workflow_id"], line["activity"], line["activity_id"], line["attempt"], line["maximum"],
                line["pid"], line["at"])
            for line in self.lines("run")
            if workflow_id in (None, line["workflow_id"])
        ]  # fmt: skip

    def started(self) -> list[str]:
        """Workflows whose start a program was told to be done."""
        return [line["workflow_id"] for line in self.lines("started")]


def open_runs(url: str) -> set[str]:
    """Keys of the runs that have not ended."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("select workflow_uuid from dbos_compat.runs where status = 1").fetchall()
    return {row[0] for row in rows}


def states_of(url: str, workflow_ids: list[str]) -> list[str]:
    """What the database says of some workflows, for the message of a failed test."""
    statement = """
        select r.workflow_uuid, r.status, w.status, r.owner, w.owner_xid, r.wake_at_ms - dbos_compat.now_ms(),
               p.identity, p.lease_until_ms - dbos_compat.now_ms(),
               (select count(*) from dbos.operation_outputs o where o.workflow_uuid = r.workflow_uuid),
               (select count(*) from dbos.notifications n where n.destination_uuid = r.workflow_uuid and not n.consumed),
               (select json_agg(a) from dbos_compat.activities a where a.workflow_uuid = r.workflow_uuid)
          from dbos_compat.runs r join dbos.workflow_status w using (workflow_uuid)
          left join dbos_compat.processes p on p.process_id = r.owner
         where r.workflow_id = any(%s)"""
    names = (
        "run",
        "status",
        "dbos",
        "owner",
        "owner_xid",
        "due_in_ms",
        "owner_is",
        "lease_left_ms",
        "entries",
        "unread",
    )
    with psycopg.connect(url) as connection:
        rows = connection.execute(statement, [workflow_ids]).fetchall()
    return [
        " ".join(f"{name}={value}" for name, value in zip((*names, "activities"), row, strict=True)) for row in rows
    ]


@dataclass(frozen=True)
class Entry:
    """One journal row."""

    workflow_id: str
    position: int
    by: str
    """Identity of the process that wrote it."""
    written_ms: int
    completed_activities: tuple[int, ...]


def journal(url: str) -> dict[str, list[Entry]]:
    """The journal of every workflow, in order."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    statement = """
        select workflow_uuid, function_id, output, completed_at_epoch_ms
          from dbos.operation_outputs order by workflow_uuid, function_id"""
    with psycopg.connect(url) as connection:
        for workflow_id, position, output, written_ms in connection.execute(statement):
            record = json.loads(output)
            completed = tuple(event["seq"] for event in record["ev"] if event["k"] == "activity")
            entries[workflow_id].append(Entry(workflow_id, position, record["by"], written_ms, completed))
    return entries


@dataclass(frozen=True)
class Woken:
    """A process that was frozen for longer than its lease, and when it woke up.

    What it had been about to start when it froze, it starts when it wakes up: nobody can tell a process that stands
    still, here as on Temporal. It must not report the outcome, and must not do so for longer than it takes to notice.
    """

    pid: int
    at: float

    NOTICES_WITHIN_SECONDS: ClassVar[float] = 1.5

    def explains(self, ran: Ran) -> bool:
        return ran.pid == self.pid and self.at - 0.1 <= ran.at <= self.at + self.NOTICES_WITHIN_SECONDS


def assert_no_step_ran_after_its_completion_was_journalled(
    ledger: Ledger, url: str, *, woken: Woken | None = None
) -> None:
    done_ms = {
        (entry.workflow_id, str(seq)): entry.written_ms
        for entries in journal(url).values()
        for entry in entries
        for seq in entry.completed_activities
    }
    assert done_ms, "no journal row says that an activity completed: this check would prove nothing"
    again = [
        ran
        for ran in ledger.ran()
        # a millisecond of rounding; the row itself was written later than the time in it
        if ran.at * 1000 > done_ms.get((ran.workflow_id, ran.activity_id), float("inf")) + 1
        and (woken is None or not woken.explains(ran))
    ]
    assert not again, f"{len(again)} steps ran after their completion was journalled: {again[:5]}"


def assert_attempts_are_bounded(ledger: Ledger) -> None:
    runs: dict[tuple[str, str], list[Ran]] = defaultdict(list)
    for ran in ledger.ran():
        runs[ran.workflow_id, ran.activity_id].append(ran)
    for (workflow_id, activity_id), attempts in runs.items():
        maximum = attempts[0].maximum
        if maximum is None:
            continue
        numbers = [ran.attempt for ran in attempts]
        assert len(attempts) <= maximum, f"{workflow_id}, activity {activity_id}: {numbers}, at most {maximum} allowed"
        assert max(numbers) <= maximum
        twice = [number for number, count in Counter(numbers).items() if count > 1]
        assert not twice, f"{workflow_id}, activity {activity_id}: attempt {twice} ran twice"


def assert_owners_never_alternate(url: str, *, deaths: int) -> None:
    """In one journal, a process that lost the run to another does not write again, unless that one let go, too.

    Each hand-over needs a death (or a parking, which these workflows leave no time for).
    """
    for workflow_id, entries in journal(url).items():
        positions = [entry.position for entry in entries]
        first = positions[0]
        assert positions == list(range(first, first + len(positions))), f"{workflow_id}: gaps in {positions}"
        owners = [entry.by for entry in entries]
        changes = sum(before != after for before, after in itertools.pairwise(owners))
        assert changes <= deaths, f"{workflow_id}: {owners} changed hands {changes} times in {deaths} deaths"


async def assert_all_completed(client: Client, workflow_ids: Iterable[str]) -> None:
    """Nothing that was acknowledged is open, failed or gone."""
    expected = set(workflow_ids)
    status = {found.id: found.status async for found in client.list_workflows()}
    lost = expected - status.keys()
    assert not lost, f"{len(lost)} acknowledged workflows do not exist: {sorted(lost)[:5]}"
    wrong = {one: status[one] for one in expected if status[one] is not WorkflowExecutionStatus.COMPLETED}
    assert not wrong, f"{len(wrong)} acknowledged workflows did not complete: {dict(list(wrong.items())[:5])}"


async def assert_temporal_accepts_the_histories(client: Client, workflow_ids: Iterable[str]) -> None:
    """Temporal's own Replayer accepts a sample of the runs."""
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    sample = sorted(workflow_ids)
    sample = sample[:: max(1, len(sample) // REPLAYED_MAX)]
    assert sample
    for workflow_id in sample:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        assert result.replay_failure is None, f"{workflow_id}: {result.replay_failure}\n{history.to_json()}"
