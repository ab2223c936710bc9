"""Results: a file of lines and a schema in Postgres keep the same promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from dbos_core.errors import SchemaMissing, SchemaTooNew
from dbos_core.results import CampaignRow, Known, ResultRow, Results
from dbos_core.store.postgres.results import PostgresResults
from dbos_shadow.results.lines import LineResults, NotResults

Open = Callable[[], Awaitable[Results]]

CAMPAIGN = CampaignRow(config="c1", name="nightly", settings='{"a": 1}', begun_ms=1000)


@pytest.fixture(params=["lines", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Results]:
    """Makes a way to the same place, again and again."""
    if request.param == "lines":
        return lambda: LineResults(tmp_path / "deep" / "results.jsonl")
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresResults(url)


@pytest.fixture
async def results(place: Callable[[], Results]):
    made = place()
    await made.open()
    await made.begin(CAMPAIGN)
    yield made
    await made.close()


def row(number: int, **fields: object) -> ResultRow:
    named = {
        "workflow_type": "Order",
        "workflow_id": f"w{number:04}",
        "run_id": f"r{number}",
        "verdict": "match",
        "shape": "s",
        "events": number,
        "at_ms": number,
        "document": '{"né": "\\u0000"}',
        "digest": f"d{number}",
    }
    return ResultRow(**{**named, **fields})  # type: ignore[arg-type]


async def read(results: Results, config: str = "c1") -> list[ResultRow]:
    return [found async for found in results.read(config)]


async def test_what_is_added_is_read_in_order(results: Results) -> None:
    rows = [row(number) for number in range(2500)]
    await results.add("c1", rows[::-1])
    assert await read(results) == rows
    assert (await results.known("c1"))["w0007", "r7"] == Known("match", "", "s", 7, "d7")
    assert await read(results, "other") == []
    assert dict(await results.known("other")) == {}


async def test_types_come_first_in_the_order_and_case_is_no_matter_of_language(results: Results) -> None:
    rows = [row(1, workflow_type=name) for name in ("order", "Zebra", "Order", "älter")]
    await results.add("c1", rows)
    assert [found.workflow_type for found in await read(results)] in (
        ["Order", "Zebra", "order", "älter"],
        ["älter"],  # a file keeps one result of a run
    )


async def test_a_run_that_is_judged_again_is_replaced(results: Results) -> None:
    await results.add("c1", [row(1), row(2)])
    again = row(1, verdict="mismatch", events=9)
    await results.add("c1", [row(1, verdict="inconclusive"), again])
    assert await read(results) == [again, row(2)]


async def test_a_type_that_was_unknown_at_first(results: Results) -> None:
    await results.add("c1", [row(1, workflow_type="", verdict="inconclusive")])
    await results.add("c1", [row(1)])
    assert await read(results) == [row(1)]


async def test_campaigns_are_apart_and_the_latest_is_first(results: Results) -> None:
    await results.begin(CampaignRow(config="c2", name="staging", begun_ms=2000))
    await results.add("c1", [row(1)])
    await results.add("c2", [row(1, verdict="mismatch")])
    assert [found.verdict for found in await read(results)] == ["match"]
    assert [found.config for found in await results.campaigns()] == ["c2", "c1"]
    assert [found.config for found in await results.campaigns("nightly")] == ["c1"]


async def test_a_campaign_that_goes_on_keeps_when_it_began(results: Results, place: Callable[[], Results]) -> None:
    await results.add("c1", [row(1)])
    await results.summarise("c1", '{"seen": 1}')
    await results.begin(dataclasses.replace(CAMPAIGN, settings='{"a": 2}', begun_ms=9999))
    expected = dataclasses.replace(CAMPAIGN, settings='{"a": 2}', summary='{"seen": 1}')
    assert list(await results.campaigns()) == [expected]
    await results.close()
    other = place()
    await other.open()
    assert list(await other.campaigns()) == [expected]
    assert await read(other) == [row(1)]
    await other.close()


async def test_a_purge_takes_what_is_old_and_campaigns_that_are_empty(results: Results) -> None:
    await results.begin(CampaignRow(config="c2", begun_ms=2000))
    await results.begin(CampaignRow(config="new", begun_ms=9000))
    await results.add("c1", [row(number) for number in range(1, 11)])
    await results.add("c2", [row(3)])
    assert await results.purge(before_ms=6, config="c1") == 5
    assert len(await read(results)) == 5
    assert len(await read(results, "c2")) == 1
    assert await results.purge(before_ms=5000) == 6
    assert [found.config for found in await results.campaigns()] == ["new"]
    await results.begin(CAMPAIGN)
    await results.add("c1", [row(1)])
    assert await read(results) == [row(1)]


class TestLines:
    async def test_half_a_line_is_what_a_killed_session_loses(self, tmp_path: Path) -> None:
        path = tmp_path / "results.jsonl"
        results = LineResults(path)
        await results.open()
        await results.begin(CAMPAIGN)
        await results.add("c1", [row(1), row(2)])
        await results.close()
        path.write_bytes(path.read_bytes()[:-20])
        await results.open()
        assert await read(results) == [row(1)]
        await results.add("c1", [row(2)])
        assert await read(results) == [row(1), row(2)]
        await results.close()

    async def test_another_file_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("dear diary\n")
        with pytest.raises(NotResults, match="line 1, is not a result"):
            await LineResults(path).open()
        assert path.read_text() == "dear diary\n"

    async def test_nothing_was_kept(self, tmp_path: Path) -> None:
        with pytest.raises(NotResults, match="no such file"):
            await LineResults(tmp_path / "absent.jsonl", create=False).open()


class TestSchema:
    async def test_nothing_was_kept(self, postgres_url: str) -> None:
        with pytest.raises(SchemaMissing, match="Nothing was ever kept there"):
            await PostgresResults(postgres_url, create=False).open()

    async def test_a_newer_release_made_it(self, postgres_url: str) -> None:
        results = PostgresResults(postgres_url, schema="Some where")
        await results.open()
        await results.close()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("""update "Some where".meta set value = '99' where key = 'version'""")
        with pytest.raises(SchemaTooNew, match="version 99"):
            await PostgresResults(postgres_url, schema="Some where").open()

    async def test_an_older_release_made_it(self, postgres_url: str) -> None:
        results = PostgresResults(postgres_url)
        await results.open()
        await results.begin(CAMPAIGN)
        await results.add("c1", [row(1)])
        await results.close()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("alter table dbos_shadow.results drop column digest")
            connection.execute("update dbos_shadow.meta set value = '1' where key = 'version'")
        await results.open()
        assert await read(results) == [row(1, digest="")]
        await results.add("c1", [row(1)])
        assert await read(results) == [row(1)]
        await results.close()

    async def test_a_table_of_that_name_is_not_ours(self, postgres_url: str) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("create schema dbos_shadow; create table dbos_shadow.meta (k int)")
        with pytest.raises(SchemaMissing, match="not ours"):
            await PostgresResults(postgres_url).open()

    async def test_pages_and_retention_go_by_an_index(self, postgres_url: str) -> None:
        """Reading a page must not sort or read everything, whatever the number of results."""
        from dbos_core.store.postgres import results as module

        results = PostgresResults(postgres_url)
        await results.open()
        await results.close()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("set enable_seqscan = off")
            text = module._PAGE.replace("{own}", "dbos_shadow")
            for name, value in (("$1", "'c'"), ("$2", "'a'"), ("$3", "'b'"), ("$4", "'c'"), ("$5", "10")):
                text = text.replace(name, value)
            plan = "".join(line[0] for line in connection.execute("explain " + text))
        assert "Index Scan using results_pkey" in plan
        assert "Sort" not in plan
