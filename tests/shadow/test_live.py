"""A real server: selections mean there what they say, histories are read as they are, and the commands work on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistory
from temporalio.service import RPCError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_core.results import CampaignRow
from dbos_shadow.campaign import Campaign, End, Limits
from dbos_shadow.cli.live import connect
from dbos_shadow.judging import judging
from dbos_shadow.reading import exporting, files
from dbos_shadow.reading.live import Namespace
from dbos_shadow.reading.pace import ONCE, Pace
from dbos_shadow.recorded import Recorded
from dbos_shadow.results.lines import LineResults
from dbos_shadow.select import Candidate, Selection, Window
from tests.fixtures.temporal import DYNAMIC_CONFIG, development_server
from tests.fixtures.waiting import eventually
from tests.unit.shadow.programs import ACTIVITIES, WORKFLOWS, Fails, Listens, Locally

pytestmark = [pytest.mark.temporal, pytest.mark.timeout(180)]

QUOTES = """it's "quoted" \\ 100% ünd"""


@pytest.fixture
async def prefix(temporal_client: Client) -> AsyncIterator[str]:
    """Three kinds of runs whose ids begin with this: ``Locally`` completed, ``Fails`` failed, ``Listens`` open."""
    prefix = f"live-{uuid.uuid4().hex[:8]}"
    queue = f"q-{prefix}"
    async with Worker(
        temporal_client,
        task_queue=queue,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        for number in range(3):
            await temporal_client.execute_workflow(Locally.run, id=f"{prefix} {number} {QUOTES}", task_queue=queue)
        failing = await temporal_client.start_workflow(Fails.run, id=f"{prefix} fails", task_queue=queue)
        opened = await temporal_client.start_workflow(Listens.run, id=f"{prefix} open", task_queue=queue)
        with pytest.raises(Exception, match=r"."):
            await failing.result()

        async def all_listed() -> bool:
            found = [run async for run in temporal_client.list_workflows(f"TaskQueue = '{queue}'")]
            closed = [run for run in found if run.status is not WorkflowExecutionStatus.RUNNING]
            return (len(found), len(closed)) == (5, 4)

        await eventually(all_listed, within=60)
        yield prefix
        with contextlib.suppress(RPCError):  # a test may have ended it
            await opened.terminate()


def asked(prefix: str, **fields: object) -> Selection:
    return Selection(query=f"WorkflowId STARTS_WITH '{prefix}'", **fields)  # type: ignore[arg-type]


async def ids(source: Namespace, selection: Selection) -> list[str]:
    return sorted([found.workflow_id async for found in source.candidates(selection)])


async def test_a_selection_means_on_the_server_what_it_says(temporal_client: Client, prefix: str) -> None:
    source = Namespace(temporal_client, Pace(per_second=1000))
    quoted = [f"{prefix} {number} {QUOTES}" for number in range(3)]
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    for selection, expected in (
        (asked(prefix), [*quoted, f"{prefix} fails", f"{prefix} open"]),
        (asked(prefix, types=("Locally",)), quoted),
        (asked(prefix, types=("Locally", "Fails")), [*quoted, f"{prefix} fails"]),
        (asked(prefix, excluded_types=("Locally", "Fails")), [f"{prefix} open"]),
        (asked(prefix, statuses=("failed", "running")), [f"{prefix} fails", f"{prefix} open"]),
        (
            asked(prefix, started=Window(after=now - hour, before=now + hour)),
            [*quoted, f"{prefix} fails", f"{prefix} open"],
        ),
        (asked(prefix, started=Window(after=now + hour)), []),
        (asked(prefix, closed=Window(after=now - hour)), [*quoted, f"{prefix} fails"]),
        (Selection(ids=(quoted[1],)), [quoted[1]]),
        (Selection(ids=(quoted[1], f"{prefix} open")), [quoted[1], f"{prefix} open"]),
    ):
        assert await ids(source, selection) == expected, selection
    assert await source.count(asked(prefix)) == 5
    with pytest.raises(RPCError):
        await ids(source, Selection(query="Nonsense ="))


async def test_histories_are_read_as_they_are(temporal_client: Client, prefix: str, tmp_path: Path) -> None:
    source = Namespace(temporal_client, Pace(per_second=1000))
    found = {run.workflow_id: run async for run in source.candidates(asked(prefix))}
    opened, failed = found[f"{prefix} open"], found[f"{prefix} fails"]
    assert (opened.status, opened.close_ms, failed.status, failed.close_ms > 0) == ("running", 0, "failed", True)
    read = await source.read(failed)
    assert read is not None
    handle = temporal_client.get_workflow_handle(failed.workflow_id, run_id=failed.run_id)
    assert list(read.events) == list((await handle.fetch_history()).events)
    assert (read.closed, read.source, failed.events) == (True, "temporal:default", len(read.events))
    path = exporting.write(tmp_path, read)
    (again,) = files.read(path)
    assert isinstance(again, Recorded)
    assert list(again.events) == list(read.events)
    gone = replace(failed, run_id=str(uuid.uuid4()))
    assert await source.read(gone) is None


async def test_what_the_export_writes_temporal_replays(temporal_client: Client, prefix: str, tmp_path: Path) -> None:
    source = Namespace(temporal_client, Pace(per_second=1000))
    first = await exporting.export_all(source, asked(prefix), tmp_path)
    assert (first.seen, first.written, first.there, first.gone) == (5, 5, 0, 0)
    second = await exporting.export_all(source, asked(prefix), tmp_path)
    assert (second.written, second.there) == (1, 4), "the open run is read again"
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    for path in files.find([tmp_path]):
        (found,) = files.read(path)
        assert isinstance(found, Recorded)
        assert found.workflow_id.startswith(prefix)
        await replayer.replay_workflow(WorkflowHistory(found.workflow_id, found.events))


async def test_an_export_keeps_rare_shapes(temporal_client: Client, prefix: str, tmp_path: Path) -> None:
    """One run is the sample; of what is read beside it one of each shape is kept, and nothing a second time."""
    source = Namespace(temporal_client, Pace(per_second=1000))
    selection = asked(prefix, rate=0.0, floor=1, maximum=1)
    (tmp_path / "bare").mkdir()
    (tmp_path / "rare").mkdir()
    bare = await exporting.export_all(source, selection, tmp_path / "bare")
    assert (bare.written, bare.scouted) == (1, 0)
    selection = asked(prefix, rate=0.0, floor=1, maximum=1, scouts=100)
    for again in range(2):
        found = await exporting.export_all(source, selection, tmp_path / "rare")
        assert (found.written + found.there, found.scouted) == (3, 4)
        assert found.there == 2 * again, "the open run is read again"
    kept = [found for path in files.find([tmp_path / "rare"]) for found in files.read(path)]
    assert {found.workflow_type for found in kept if isinstance(found, Recorded)} == {"Locally", "Fails", "Listens"}


async def test_a_watch_judges_what_closes_meanwhile(temporal_client: Client, prefix: str, tmp_path: Path) -> None:
    source = Namespace(temporal_client, Pace(per_second=1000))
    results = LineResults(tmp_path / "r.jsonl")
    await results.open()
    await results.begin(CampaignRow(config="c"))
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            handle = temporal_client.get_workflow_handle(f"{prefix} open")
            await handle.cancel()
        await asyncio.sleep(0.1)

    async with judging(WORKFLOWS, worker_options={"workflow_runner": UnsandboxedWorkflowRunner()}) as judge:
        limits = Limits(compared_per_type=1, deadline_s=120)
        campaign = Campaign("c", results=results, judge=judge, keep=lambda _: "{}", limits=limits)
        selection = asked(prefix, types=("Locally", "Fails", "Listens"))
        end = await campaign.watch(selection, source, since=datetime.now(UTC), sleep=sleep)
    assert end is End.ENOUGH
    assert looks > 0
    assert campaign.counts.verdicts == {"match": 5}
    await results.close()


async def test_the_commands(temporal_client: Client, temporal_address: str, prefix: str, tmp_path: Path) -> None:
    program = "tests.unit.shadow.programs:WORKFLOWS"
    query = ["--address", temporal_address, "-q", f"WorkflowId STARTS_WITH '{prefix}'"]

    async def shadow(*words: str) -> tuple[int, str]:
        key = tmp_path / "key"
        key.write_text("k" * 32)
        command = ["shadow", *words, "--json"]
        if words[0] != "export":
            command += ["--key-file", str(key), "--results", str(tmp_path / "r.jsonl"), "--no-sandbox"]
        answer = await asyncio.to_thread(CliRunner().invoke, app, command)
        return answer.exit_code, answer.output

    code, text = await shadow("run", "-w", program, *query, "--sample-floor", "1")
    assert code == 0, text
    report = json.loads(text)
    assert report["counts"]["match"] == 5
    assert report["campaign"]["selected"] == 5
    assert report["campaign"]["selection"].startswith("namespace default where (WorkflowId STARTS_WITH")
    code, text = await shadow("run", "-w", program, *query)
    assert code == 3, "the floor for live runs is ten"
    code, text = await shadow("export", str(tmp_path / "h"), *query, "--type", "Fails")
    assert (code, json.loads(text)["written"]) == (0, 1)
    code, text = await shadow("replay", str(tmp_path / "h"), "-w", program)
    assert (code, json.loads(text)["counts"]["match"]) == (0, 1)
    code, text = await shadow("watch", "-w", program, *query, "--closed-after", "1h", "--enough", "1", "--for", "60s",
                              "--type", "Locally", "--sample-floor", "1")  # fmt: skip
    assert code == 0, text
    code, text = await shadow("run", "-w", program, "--address", temporal_address, "-q", "Nonsense =")
    assert code == 2
    assert "Temporal refuses" in text


async def test_a_server_that_has_too_much_to_do_is_asked_more_slowly() -> None:
    """It says RESOURCE_EXHAUSTED, and all is read in the end."""
    with development_server({**DYNAMIC_CONFIG, "frontend.namespaceRPS": "5"}) as address:
        client = await connect(address=address, namespace=None, profile=None, factory=None, retries=ONCE)
        plain = await Client.connect(address)
        started = [await plain.start_workflow("Waits", id=f"w{number}", task_queue="nobody") for number in range(8)]
        pace = Pace(per_second=1000, concurrency=16)
        source = Namespace(client, pace)
        wanted = [
            Candidate(
                workflow_id=run.id, run_id=run.first_execution_run_id or "", workflow_type="Waits", status="running"
            )
            for run in started
        ]
        read: list[Recorded | None] = []

        async def refused() -> bool:
            read[:] = await asyncio.gather(*map(source.read, wanted))
            return pace.refused > 0

        await eventually(refused, within=60)
    assert [found.workflow_id for found in read if found is not None] == [run.id for run in started]
    assert pace.rate < pace.wanted
