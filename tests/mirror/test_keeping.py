"""A mirror's verdicts among the results: what ``dbos-compat shadow report`` makes of them, and when they go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker
from typer.testing import CliRunner

from dbos_compat.cli import app
from dbos_core.results import CampaignRow, ResultRow, Results
from dbos_core.store.postgres.results import PostgresResults
from dbos_shadow.mirror import Mirror, MirrorWorker, Note
from dbos_shadow.mirror.keeping import AGAIN_S, OPEN_S, Keeping, Kept, still_running
from dbos_shadow.report import ReportBuilder
from dbos_shadow.results.kept import restore
from dbos_shadow.results.lines import LineResults
from dbos_shadow.verdict import Judgement, Reason, Verdict, Way
from tests.fixtures.waiting import eventually
from tests.mirror.programs import ACTIVITIES, WORKFLOWS, Basket, Chain, Failing, Order, ended
from tests.mirror.support import UNSANDBOXED
from tests.mirror.test_worker import Greedy

KEY = b"a secret of sixteen bytes or more"


@dataclass
class Follows:
    """A run that is followed."""

    run_id: str
    workflow_id: str = "order"
    workflow_type: str = "Order"
    events: int = 3


@pytest.fixture
async def results(tmp_path: Path) -> AsyncIterator[LineResults]:
    found = LineResults(tmp_path / "results.jsonl")
    await found.open()
    yield found
    await found.close()


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def keeping(results: Results, clock: Clock, **settings: Any) -> Keeping:
    return Keeping(
        Kept(results=results, key=KEY, name="staging"),
        {"way": "mirror", **settings},
        clock=clock,
        now_ms=lambda: int(clock.s * 1000),
    )


def match(run_id: str) -> Judgement:
    return replace(still_running("Order", "order", run_id), verdict=Verdict.MATCH, reason=None)


async def said(results: Results, config: str) -> dict[str, tuple[str, str]]:
    return {row.run_id: (row.verdict, row.reason) async for row in results.read(config)}


async def test_a_run_that_stays_open_is_told_until_its_verdict_comes(results: LineResults) -> None:
    clock = Clock()
    kept = keeping(results, clock)
    await kept.begin()
    runs = [Follows("one"), Follows("two")]
    await kept.open_runs(lambda: runs)
    assert await said(results, kept.config) == {}, "most are over soon"
    clock.s += OPEN_S
    await kept.open_runs(lambda: runs)
    assert await said(results, kept.config) == dict.fromkeys(("one", "two"), ("inconclusive", "still_running"))
    (kept_as, _) = [restore(row.document) async for row in results.read(kept.config)]
    assert (kept_as.way, kept_as.reason, kept_as.events) == (Way.MIRROR, Reason.STILL_RUNNING, 3)
    await kept.verdict(match("one"))
    await kept.open_runs(lambda: runs[1:])
    # Who stops between the two places of a verdict does not take it back.
    await kept.left_open([Note(workflow_id="order", run_id=name, workflow_type="Order") for name in ("one", "three")])
    expected = {
        "one": ("match", ""),
        "two": ("inconclusive", "still_running"),
        "three": ("inconclusive", "still_running"),
    }
    assert await said(results, kept.config) == expected


async def test_what_is_open_is_not_told_again_but_before_it_would_look_old(results: LineResults) -> None:
    clock = Clock()
    kept = keeping(results, clock)
    await kept.begin()
    for _ in range(4):
        await kept.open_runs(lambda: [Follows("one")])
        clock.s += OPEN_S
    assert results.path.read_text().count('"reason":"still_running"') == 1
    clock.s += AGAIN_S
    await kept.open_runs(lambda: [Follows("one")])
    (row,) = [row async for row in results.read(kept.config)]
    assert row.at_ms == int(clock.s * 1000)


async def test_what_could_not_be_noted_is_in_the_head_of_a_report(results: LineResults) -> None:
    kept = keeping(results, Clock())
    await kept.begin()
    await kept.lost({})
    (campaign,) = await results.campaigns("staging")
    assert json.loads(campaign.settings)["sample"] == "all that were noted"
    await kept.lost({"Order": 1200, "": 1})
    (campaign,) = await results.campaigns("staging")
    assert json.loads(campaign.settings)["sample"] == (
        "all that were noted; 1,201 calls could not be noted (of unknown type 1, Order 1,200): runs may be missing"
    )


async def test_retention_is_for_what_the_mirror_has_said_and_for_nothing_else(results: LineResults) -> None:
    clock = Clock()
    await results.begin(CampaignRow(config="replay", settings='{"way": "replay"}'))
    await results.add("replay", [ResultRow(workflow_type="Order", workflow_id="o", run_id="r", verdict="match")])
    before, now = keeping(results, clock, code="then"), keeping(results, clock, code="now")
    assert before.config != now.config
    await before.begin()
    await before.verdict(match("old"))
    clock.s = 100
    await now.begin()
    await now.verdict(match("new"))
    await now.purge(50_000)
    assert {row.config for row in await results.campaigns()} == {"replay", now.config}
    assert await said(results, now.config) == {"new": ("match", "")}
    assert await said(results, "replay") == {"r": ("match", "")}
    await now.purge(200_000)
    assert await said(results, now.config) == {}
    assert now.config in {row.config for row in await results.campaigns()}, "it goes on"


def test_what_is_open_does_not_weigh_and_what_was_not_mirrored_does() -> None:
    def decided(*more: Judgement) -> tuple[str, str]:
        builder = ReportBuilder()
        for judgement in (*(match(str(number)) for number in range(10)), *more):
            builder.add(judgement)
        (of_type,) = builder.finish().types
        return of_type.decision.value, of_type.rule

    open_runs = [still_running("Order", "order", f"open {number}") for number in range(10)]
    assert decided(*open_runs) == ("go", "clean")
    unlucky = replace(open_runs[0], reason=Reason.NOT_MIRRORED)
    assert decided(*open_runs, unlucky) == ("cannot_tell", "undecided_share")


# -- with a server -----------------------------------------------------------------------------------------------------


def shadow(*words: object) -> Any:
    return CliRunner().invoke(app, ["shadow", *map(str, words)])


@contextlib.asynccontextmanager
async def mirrored(temporal: Client, url: str, kept: Kept, queue: str) -> AsyncIterator[tuple[Mirror, MirrorWorker]]:
    async with (
        Mirror(temporal, url=url) as mirror,
        MirrorWorker(
            temporal,
            url=url,
            workflows=[Greedy, *(one for one in WORKFLOWS if one not in (Order, Chain))],
            workflow_runner=UNSANDBOXED,
            kept=kept,
        ) as worker,
        Worker(
            mirror.client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, workflow_runner=UNSANDBOXED
        ),
    ):
        yield mirror, worker


@pytest.mark.temporal
async def test_every_report_is_made_of_them(
    temporal_client: Client, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBOS_COMPAT_DATA_DIR", str(tmp_path / "data"))
    queue = f"kept-{uuid.uuid4()}"
    results = PostgresResults(postgres_url)
    await results.open()
    try:
        kept = Kept(results=results, key=KEY, name="staging")
        async with mirrored(temporal_client, postgres_url, kept, queue) as (mirror, worker):
            client = mirror.client
            over: list[WorkflowHandle[Any, Any]] = [
                await client.start_workflow(Failing.run, id=f"{queue}-failing", task_queue=queue),
                await client.start_workflow(Order.run, "canary", id=f"{queue}-order", task_queue=queue),
                await client.start_workflow(Chain.run, 0, id=f"{queue}-chain", task_queue=queue),
            ]
            stays = await client.start_workflow(Basket.run, 600.0, id=f"{queue}-basket", task_queue=queue)
            for handle in over:
                await ended(handle)
            await mirror.flush()
            await eventually(lambda: sum(worker.followed.verdicts.values()) == 3, within=60)
            config = worker.config or ""
        await stays.terminate()
        found = {row.workflow_type: row async for row in results.read(config)}
        assert {name: (row.verdict, row.reason) for name, row in found.items()} == {
            "Failing": ("match", ""),
            "Order": ("mismatch", "baseline"),
            "Chain": ("not_run", "unknown_type"),
            "Basket": ("inconclusive", "still_running"),
        }
        assert not [row for row in found.values() if "canary" in row.document], "scrubbed before it is kept"
    finally:
        await results.close()

    files = [tmp_path / f"report{suffix}" for suffix in (".json", ".jsonl", ".xml", ".sarif", ".md", ".html")]
    words = [word for file in files for word in ("-o", file)]
    made = await asyncio.to_thread(shadow, "report", "--database", postgres_url, "--name", "staging", *words)
    assert made.exit_code == 1, made.output
    assert "NO-GO" in made.output
    report = json.loads(files[0].read_text())
    types = {found["workflow_type"]: found for found in report["types"]}
    assert {name: found["ways"] for name, found in types.items()} == {name: {"mirror": 1} for name in found}
    assert types["Order"]["decision"] == "no_go"
    assert (types["Basket"]["decision"], types["Basket"]["rule"]) == ("cannot_tell", "nothing_compared")
    assert types["Basket"]["reasons"] == {"still_running": 1}
    assert report["campaign"]["sample"] == "all that were noted"
    lines = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert {line["way"] for line in lines if "way" in line} == {"mirror"}
    for file in files[2:]:
        text = file.read_text()
        assert f"{queue}-order" in text, file.suffix
        assert "canary" not in text, file.suffix

    # What is older than asked for goes, in the results and in the mirror's own tables; what is open stays mirrored.
    purged = await asyncio.to_thread(shadow, "purge", "--older-than", "0s", "--database", postgres_url, "--json")
    assert purged.exit_code == 0, purged.output
    assert json.loads(purged.stdout) | {"before": ""} == {"deleted": 4, "mirrored_deleted": 3, "before": ""}
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        left = await (await connection.execute("select workflow_type from dbos_compat_mirror.mirrored")).fetchall()
        assert left == [("Basket",)]
        journals = await (await connection.execute("select workflow_uuid from dbos_mirror.workflow_status")).fetchall()
        assert [name for (name,) in journals if "basket" not in name] == []
