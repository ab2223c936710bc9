"""The checkpoint writer: what goes into one flush, and what becomes of commits when one of them cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from dbos_core import writer as module
from dbos_core.commit import Commit, JournalRow, Mail, Verdict
from dbos_core.errors import BadCommit, Ours, StoreUnavailable
from dbos_core.mailbox import OWN_ID
from dbos_core.writer import CheckpointWriter


class Table:
    """Takes every flush, but for what it cannot digest."""

    def __init__(self) -> None:
        self.flushes: list[list[str]] = []
        self.indigestible = ""

    async def flush(self, process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        await asyncio.sleep(0)
        if any(commit.workflow_uuid == self.indigestible for commit in commits):
            raise TypeError("a bug")
        self.flushes.append([commit.workflow_uuid for commit in commits])
        return [Verdict.COMMITTED] * len(commits)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
async def writer(table: Table) -> AsyncIterator[CheckpointWriter]:
    made = CheckpointWriter(table, "us", spin_s=0)  # type: ignore[arg-type]
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def entry(run: str, characters: int = 2) -> Commit:
    row = JournalRow(position=1, name="task", record="x" * characters, started_ms=0, completed_ms=0)
    return Commit(workflow_uuid=run, entry=row)


def signal(run: str) -> Commit:
    mail = Mail(mail_id=f"{OWN_ID}{run}", workflow_uuid=run, topic="hurry", message="{}")
    return Commit(workflow_uuid=run, fenced=False, mail=(mail,))


async def test_what_is_pending_together_goes_out_together(writer: CheckpointWriter, table: Table) -> None:
    await asyncio.gather(*(writer.write(entry(f"order-{n}")) for n in range(5)))

    assert table.flushes == [[f"order-{n}" for n in range(5)]]


async def test_long_records_do_not_make_a_statement_that_no_database_takes(
    writer: CheckpointWriter, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_CHARACTERS_MAX", 1000)

    await asyncio.gather(*(writer.write(entry(f"order-{n}", 400)) for n in range(5)))

    assert table.flushes == [["order-0", "order-1"], ["order-2", "order-3"], ["order-4"]]


async def test_a_record_that_is_longer_than_a_flush_may_be_goes_alone(
    writer: CheckpointWriter, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_CHARACTERS_MAX", 1000)

    await asyncio.gather(*(writer.write(commit) for commit in (entry("a"), entry("b", 5000), entry("c"))))

    assert table.flushes == [["a"], ["b"], ["c"]]


async def test_a_bug_about_one_commit_is_the_affair_of_its_run_alone(writer: CheckpointWriter, table: Table) -> None:
    table.indigestible = "order-3"

    verdicts = await asyncio.gather(*(writer.write(entry(f"order-{n}")) for n in range(8)))

    assert verdicts == [Verdict.CLAIM_LOST if n == 3 else Verdict.COMMITTED for n in range(8)]


async def test_a_message_that_was_not_written_is_not_acknowledged(writer: CheckpointWriter, table: Table) -> None:
    table.indigestible = "order-1"

    answers = await asyncio.gather(*(writer.write(signal(f"order-{n}")) for n in range(3)), return_exceptions=True)

    assert [answers[0], answers[2]] == [Verdict.COMMITTED] * 2
    assert isinstance(answers[1], Ours)
    assert "order-1" in str(answers[1])


async def test_a_value_that_the_database_refuses_is_told_to_its_own_run(
    writer: CheckpointWriter, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = table.flush

    async def refusing(process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        if any(commit.workflow_uuid == "order-1" for commit in commits):
            raise BadCommit("a NUL")
        return await taken(process_id, commits, again=again)

    monkeypatch.setattr(table, "flush", refusing)

    answers = await asyncio.gather(*(writer.write(entry(f"order-{n}")) for n in range(3)), return_exceptions=True)

    assert [answers[0], answers[2]] == [Verdict.COMMITTED] * 2
    assert isinstance(answers[1], BadCommit)


async def test_nobody_waits_for_what_a_process_that_ends_can_write_no_more(table: Table) -> None:
    """The database is away: one commit is under way, another waits for its turn."""

    async def away(process_id: str, commits: Sequence[Commit], *, again: bool) -> list[Verdict]:
        raise StoreUnavailable("away")

    table.flush = away  # type: ignore[method-assign]
    writer = CheckpointWriter(table, "us", spin_s=0)  # type: ignore[arg-type]
    running = asyncio.create_task(writer.run())
    first = asyncio.create_task(writer.write(signal("order-1")))
    while writer.available:
        await asyncio.sleep(0)
    second = asyncio.create_task(writer.write(entry("order-2")))
    await asyncio.sleep(0)

    running.cancel()
    answers = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 10)

    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    await asyncio.gather(running, return_exceptions=True)
