"""Campaigns: bounded, resumable, and never green by leaving things out."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dbos_core.errors import StoreUnavailable
from dbos_core.results import CampaignRow, ResultRow
from dbos_shadow.campaign import READ_AHEAD, Campaign, End, Limits, config_hash
from dbos_shadow.reading.decoding import CannotDecode
from dbos_shadow.reading.files import Unreadable
from dbos_shadow.recorded import Recorded
from dbos_shadow.results.lines import LineResults
from dbos_shadow.select import Candidate, Selection, shape_of
from dbos_shadow.sources import history
from dbos_shadow.verdict import Judgement, Reason, Verdict
from tests.unit.shadow.events import recorded

NOW_MS = 1_800_000_000_000


def run(number: int, **fields: Any) -> Candidate:
    named = {"workflow_id": f"w{number:03}", "run_id": f"r{number}", "workflow_type": "Order", "status": "completed"}
    return Candidate(**{**named, "events": 5, "close_ms": NOW_MS + number, **fields})


class Source:
    """Runs that were made up."""

    def __init__(self, runs: Iterable[Candidate | Unreadable], concurrency: int = 3) -> None:
        self.runs = list(runs)
        self.concurrency = concurrency
        self.read_ids: list[str] = []
        self.asked: list[Selection] = []
        self.gone: set[str] = set()
        self.rare: set[str] = set()
        """Of them another shape is read than of the others."""
        self.broken: Exception | None = None

    async def candidates(self, selection: Selection) -> AsyncIterator[Candidate | Unreadable]:
        self.asked.append(selection)
        for one in self.runs:
            if isinstance(one, Unreadable) or selection.takes(one):
                await asyncio.sleep(0)
                yield one

    async def read(self, candidate: Candidate) -> Recorded | Unreadable | None:
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        self.read_ids.append(candidate.workflow_id)
        if candidate.workflow_id in self.gone:
            return None
        common = candidate.workflow_id not in self.rare
        return recorded(candidate.workflow_id, candidate.run_id, workflow_type=candidate.workflow_type, closed=common)


class Judge:
    """Says what it was told to say."""

    def __init__(self, **says: Verdict | Exception) -> None:
        self.says = says
        self.judged: list[str] = []
        self.before: Callable[[str], None] = lambda _: None

    async def __call__(self, found: Recorded, /) -> Judgement:
        self.before(found.workflow_id)
        self.judged.append(found.workflow_id)
        said = self.says.get(found.workflow_id, Verdict.MATCH)
        if isinstance(said, Exception):
            raise said
        return Judgement(
            workflow_type=found.workflow_type,
            workflow_id=found.workflow_id,
            run_id=found.run_id,
            verdict=said,
            shape=self.shape(found),
            events=len(found.events),
        )

    def shape(self, found: Recorded) -> str:
        return "s"


class Seeing(Judge):
    """Tells shapes apart."""

    def shape(self, found: Recorded) -> str:
        return shape_of(history.trace(found.events))


@pytest.fixture
async def results(tmp_path: Path) -> AsyncIterator[LineResults]:
    made = LineResults(tmp_path / "results.jsonl")
    await made.open()
    await made.begin(CampaignRow(config="c", begun_ms=1))
    yield made
    await made.close()


def campaign(results: LineResults, judge: Judge, **options: Any) -> Campaign:
    named: dict[str, Any] = {"keep": lambda judgement: json.dumps({"note": judgement.note}), "now_ms": lambda: NOW_MS}
    return Campaign("c", results=results, judge=judge, **{**named, **options})


async def rows(results: LineResults) -> dict[str, ResultRow]:
    return {found.workflow_id: found async for found in results.read("c")}


async def test_all_are_judged_in_order_and_kept(results: LineResults) -> None:
    judge, heard = Judge(w002=Verdict.MISMATCH), []
    work = campaign(results, judge, on_judged=lambda judgement: heard.append(judgement.workflow_id))
    assert await work.run(Selection(), Source(run(number) for number in range(120))) is End.DONE
    assert judge.judged == heard == [f"w{number:03}" for number in range(120)]
    kept = await rows(results)
    assert len(kept) == 120
    assert kept["w002"].verdict == "mismatch"
    assert (kept["w001"].shape, kept["w001"].events, kept["w001"].at_ms) == ("s", 5, NOW_MS)
    assert work.counts.document() == {
        "seen": 120, "chosen": 120, "known": 0, "judged": 120, "scouted": 0, "passed_over": {},
        "verdicts": {"match": 119, "mismatch": 1}, "reasons": {},
    }  # fmt: skip
    (stratum,) = work.strata
    assert (stratum.seen, stratum.chosen, stratum.judged) == (120, 120, 120)
    summary = json.loads((await results.campaigns())[0].summary)
    assert summary["strata"] == [
        {"workflow_type": "Order", "name": "completed up to 16 events", "seen": 120, "chosen": 120, "judged": 120}
    ]


async def test_a_sample_is_what_the_selection_picks(results: LineResults) -> None:
    judge = Judge()
    work = campaign(results, judge)
    source = Source(run(number) for number in range(300))
    await work.run(Selection(rate=0.1), source)
    assert set(judge.judged) == set(source.read_ids)
    assert 15 < len(judge.judged) < 50
    (stratum,) = work.strata
    assert (stratum.seen, stratum.chosen, stratum.judged) == (300, len(judge.judged), len(judge.judged))


async def test_what_was_judged_is_not_judged_again(results: LineResults) -> None:
    source = Source(run(number) for number in range(10))
    await campaign(results, Judge(w003=Verdict.MISMATCH)).run(Selection(), source)
    judge = Judge()
    source.runs.append(run(10))
    work = campaign(results, judge)
    await work.run(Selection(), source)
    assert judge.judged == ["w010"]
    assert (work.counts.known, work.counts.judged, work.counts.verdicts["mismatch"]) == (10, 1, 1)
    assert work.chosen == {(one.workflow_id, one.run_id) for one in source.runs if isinstance(one, Candidate)}
    (stratum,) = work.strata
    assert stratum.judged == 11
    anew = Judge()
    await campaign(results, anew, fresh=True).run(Selection(), source)
    assert len(anew.judged) == 11
    assert (await rows(results))["w003"].verdict == "match"


@pytest.mark.parametrize(
    ("then", "now", "again"),
    [
        ({}, {}, False),
        ({}, {"events": 9}, True),
        ({"digest": "a"}, {"digest": "a"}, False),
        ({"digest": "a"}, {"digest": "b"}, True),
        ({}, {"digest": "a"}, True),
        ({"digest": "a"}, {}, False),
        ({"status": "paused"}, {"status": "paused"}, True),
        ({"status": "of tomorrow", "close_ms": 0}, {"status": "of tomorrow", "close_ms": 0}, True),
        ({"status": "of tomorrow"}, {"status": "of tomorrow"}, False),
        ({"status": "running"}, {"status": "running"}, True),
    ],
)
async def test_a_run_that_has_grown_is_judged_again(
    results: LineResults, then: dict[str, Any], now: dict[str, Any], again: bool
) -> None:
    await campaign(results, Judge()).run(Selection(), Source([run(1, **then)]))
    judge = Judge()
    await campaign(results, judge).run(Selection(), Source([run(1, **now)]))
    assert bool(judge.judged) is again


async def test_our_own_failures_are_tried_again_and_say_nothing_of_payloads(results: LineResults) -> None:
    first = campaign(results, Judge(w001=ValueError("canary"), w002=CannotDecode("event 3")))
    await first.run(Selection(), Source([run(1), run(2), run(3)]))
    kept = await rows(results)
    assert [(kept[name].verdict, kept[name].reason) for name in ("w001", "w002", "w003")] == [
        ("inconclusive", "failed"), ("inconclusive", "sealed"), ("match", ""),
    ]  # fmt: skip
    assert "canary" not in kept["w001"].document
    assert "ValueError in __call__" in kept["w001"].document
    assert first.counts.reasons == {Reason.FAILED.value: 1, Reason.SEALED.value: 1}
    judge = Judge()
    await campaign(results, judge).run(Selection(), Source([run(1), run(2), run(3)]))
    assert judge.judged == ["w001", "w002"], "the codec may be there now"


async def test_what_cannot_be_read_or_is_gone_is_told(results: LineResults) -> None:
    cut = Unreadable(workflow_id="cut", source="file:cut.json", note="cut.json: It is not JSON")
    source = Source([run(1), cut, run(2)])
    source.gone = {"w002"}
    work = campaign(results, Judge())
    await work.run(Selection(), source)
    kept = await rows(results)
    assert (kept["cut"].verdict, kept["cut"].reason) == ("inconclusive", "truncated")
    assert (kept["w002"].verdict, kept["w002"].reason) == ("not_run", "excluded")
    assert work.counts.verdicts == {"match": 1, "inconclusive": 1, "not_run": 1}


async def test_a_run_that_takes_too_long_is_given_up(results: LineResults) -> None:
    class Slow(Judge):
        async def __call__(self, found: Recorded, /) -> Judgement:
            if found.workflow_id == "w001":
                await asyncio.Event().wait()
            return await super().__call__(found)

    work = campaign(results, Slow(), limits=Limits(run_deadline_s=0.01))
    assert await work.run(Selection(), Source([run(1), run(2)])) is End.DONE
    kept = await rows(results)
    assert (kept["w001"].reason, kept["w002"].verdict) == ("failed", "match")


async def test_no_more_is_in_memory_than_a_few(results: LineResults) -> None:
    source = Source((run(number) for number in range(200)), concurrency=4)
    judge = Judge()
    ahead: list[int] = []
    judge.before = lambda _: ahead.append(len(source.read_ids) - len(judge.judged))
    await campaign(results, judge).run(Selection(), source)
    assert max(ahead) <= READ_AHEAD + source.concurrency + 2


async def test_the_same_run_twice_is_one_run(results: LineResults) -> None:
    judge = Judge()
    work = campaign(results, judge)
    await work.run(Selection(), Source([run(1), run(2), run(1)]))
    assert judge.judged == ["w001", "w002"]
    assert work.counts.seen == 2
    assert work.counts.repeated == [], "a listing may have it on two pages"


@pytest.mark.parametrize("rate", [1.0, 0.9999])
async def test_the_same_run_in_two_files_is_never_passed_over_in_silence(results: LineResults, rate: float) -> None:
    judge = Judge()
    work = campaign(results, judge)
    found = [
        run(number, digest=digest, where=f"{name}\nfile:{name}")
        for number, digest, name in (
            (1, "a", "1.json"),
            (2, "b", "2.json"),
            (1, "a", "1.json.gz"),
            (2, "c", "later.json"),
        )
    ]
    await work.run(Selection(rate=rate), Source(found))
    assert sorted(judge.judged) == ["w001", "w002"]
    assert work.counts.repeated == ["w001"]
    assert work.counts.verdicts == {"match": 2, "inconclusive": 1}
    (other,) = [row async for row in results.read("c") if row.verdict == "inconclusive"]
    assert (other.workflow_id, other.run_id) == ("w002", "file:later.json")
    assert "2.json with another history" in other.document


class TestLimits:
    async def test_mismatches(self, results: LineResults) -> None:
        judge = Judge(w003=Verdict.MISMATCH, w005=Verdict.MISMATCH)
        work = campaign(results, judge, limits=Limits(mismatches=2))
        assert await work.run(Selection(), Source(run(number) for number in range(100))) is End.MISMATCHES
        assert judge.judged[-1] == "w005"
        assert len(await rows(results)) == 6

    async def test_enough_of_each_type(self, results: LineResults) -> None:
        runs = [run(number, workflow_type="Order" if number % 10 else "Refund") for number in range(100)]
        judge = Judge()
        selection = Selection(types=("Order", "Refund"))
        work = campaign(results, judge, limits=Limits(compared_per_type=3))
        assert await work.run(selection, Source(runs)) is End.ENOUGH
        assert judge.judged[-1] == "w020"

    async def test_time(self, results: LineResults) -> None:
        now = [0.0]
        judge = Judge()
        judge.before = lambda _: now.__setitem__(0, now[0] + 1)
        work = campaign(results, judge, limits=Limits(deadline_s=5), clock=lambda: now[0])
        assert await work.run(Selection(), Source(run(number) for number in range(100))) is End.DEADLINE
        assert len(await rows(results)) == 5


class TestEndings:
    async def test_ctrl_c_loses_nothing_that_was_judged(self, results: LineResults) -> None:
        judge = Judge()
        task: asyncio.Task[End]

        def interrupt(workflow_id: str) -> None:
            if workflow_id == "w004":
                task.cancel()

        judge.before = interrupt
        task = asyncio.create_task(campaign(results, judge).run(Selection(), Source(run(n) for n in range(50))))
        with pytest.raises(asyncio.CancelledError):
            await task
        judged = len(judge.judged)
        assert len(await rows(results)) >= judged - 1
        judge.before = lambda _: None
        await campaign(results, judge).run(Selection(), Source(run(n) for n in range(50)))
        assert len(await rows(results)) == 50
        assert len(judge.judged) <= 51

    async def test_a_server_that_goes_away_is_raised_as_it_is(self, results: LineResults) -> None:
        source = Source(run(number) for number in range(10))
        source.broken = StoreUnavailable("the server is away")
        with pytest.raises(StoreUnavailable, match="the server is away"):
            await campaign(results, Judge()).run(Selection(), source)

    async def test_results_that_cannot_be_kept_are_no_success(self, results: LineResults) -> None:
        work = campaign(results, Judge())
        source = Source([run(1)])

        async def away(config: str, rows: object) -> None:
            raise StoreUnavailable("the database is away")

        results.add = away  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable, match="the database is away"):
            await work.run(Selection(), source)


class TestScouts:
    """Of a live namespace nobody knows a run's shape before it was read."""

    RARE: ClassVar = {"w007", "w150", "w222"}

    def source(self) -> Source:
        source = Source(run(number) for number in range(300))
        source.rare = set(self.RARE)
        return source

    async def test_a_rare_shape_is_judged_beyond_the_sample(self, results: LineResults) -> None:
        judge, source = Seeing(), self.source()
        work = campaign(results, judge)
        await work.run(Selection(rate=0, maximum=10, floor=5, scouts=300), source)
        assert len(judge.judged) - len(self.RARE - set(judge.judged[:5])) == 5
        assert set(judge.judged) >= self.RARE
        assert len(set(source.read_ids)) == len(source.read_ids) == 300
        assert work.counts.scouted == 295
        assert work.counts.passed_over == {"Order": 300 - len(judge.judged)}
        assert work.counts.chosen == len(judge.judged) == len(work.chosen)
        shapes = Counter(row.shape for row in (await rows(results)).values())
        assert sorted(number > 1 for number in shapes.values()) == [True, True]

    async def test_no_more_is_read_than_was_said(self, results: LineResults) -> None:
        judge, source = Seeing(), self.source()
        await campaign(results, judge).run(Selection(rate=0, floor=5, scouts=40), source)
        assert len(source.read_ids) == 45
        again, second = self.source(), Seeing()
        await campaign(results, second, fresh=True).run(Selection(rate=0, floor=5, scouts=40), again)
        assert (again.read_ids, second.judged) == (source.read_ids, judge.judged), "the same ones each time"

    async def test_no_shape_is_judged_more_often_than_the_floor(self, results: LineResults) -> None:
        judge, source = Seeing(), self.source()
        await campaign(results, judge).run(Selection(rate=0, floor=2, scouts=300), source)
        assert len(judge.judged) == 4
        assert len(self.RARE & set(judge.judged)) == 2

    async def test_a_session_that_goes_on_comes_to_the_same(self, results: LineResults) -> None:
        selection = Selection(rate=0, floor=2, scouts=300)
        work = campaign(results, Seeing(), limits=Limits(mismatches=1))
        await work.run(selection, self.source())
        judge = Seeing()
        second = campaign(results, judge)
        await second.run(selection, self.source())
        assert judge.judged == []
        assert second.chosen == work.chosen

    async def test_what_cannot_be_read_was_not_chosen(self, results: LineResults) -> None:
        judge, source = Seeing(), self.source()
        source.gone = {f"w{number:03}" for number in range(300)} - self.RARE
        work = campaign(results, judge)
        await work.run(Selection(rate=0, floor=1, scouts=300), source)
        assert len(judge.judged) == 1
        assert work.counts.reasons["excluded"] == 1, "only the one of the sample"

    async def test_what_cannot_be_understood_is_judged_and_told(
        self, results: LineResults, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> str:
            raise AttributeError("an event of tomorrow")

        monkeypatch.setattr("dbos_shadow.campaign.shape_of", broken)
        judge = Judge()
        work = campaign(results, judge)
        assert await work.run(Selection(rate=0, floor=2, scouts=10), self.source()) is End.DONE
        assert len(judge.judged) == 12

    async def test_where_shapes_are_known_nobody_scouts(self, results: LineResults) -> None:
        source = Source(run(number, shape="known") for number in range(50))
        await campaign(results, Seeing()).run(Selection(rate=0, floor=5, scouts=300), source)
        assert len(source.read_ids) == 5

    async def test_a_watch_scouts_at_each_look(self, results: LineResults) -> None:
        judge, source = Seeing(), self.source()
        looks = 0

        async def sleep(_: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 3:
                raise KeyboardInterrupt
            source.runs += [run(1000 * looks + number) for number in range(50)]
            source.rare.add(f"w{1000 * looks + 5}")

        since = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        selection = Selection(rate=0, floor=3, scouts=20)
        with pytest.raises(KeyboardInterrupt):
            await campaign(results, judge).watch(selection, source, since=since, sleep=sleep)
        assert judge.judged == ["w000", "w001", "w002", "w007", "w1005", "w2005"]
        assert len(source.read_ids) == 3 + 3 * 20


class TestWatch:
    async def test_what_closes_is_judged_once_until_there_is_enough(self, results: LineResults) -> None:
        source = Source([run(1), run(2)])
        judge = Judge()
        looks = []

        async def sleep(seconds: float) -> None:
            looks.append(seconds)
            source.runs.append(run(10 + len(looks)))

        work = campaign(results, judge, limits=Limits(compared_per_type=5))
        since = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        end = await work.watch(Selection(), source, since=since, every_s=7, sleep=sleep)
        assert end is End.ENOUGH
        assert judge.judged == ["w001", "w002", "w011", "w012", "w013"]
        assert looks == [7, 7, 7]
        assert all(selection.closed.after is not None and selection.closed.after < since for selection in source.asked)

    async def test_a_watch_goes_on_where_the_last_one_has_stopped(self, results: LineResults) -> None:
        since = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        work = campaign(results, Judge(), limits=Limits(compared_per_type=1), now_ms=lambda: NOW_MS + 60_000)
        assert await work.left_off() is None
        assert await work.watch(Selection(), Source([run(1)]), since=since) is End.ENOUGH
        assert await work.left_off() == since, "it was stopped before it had seen all of its first look"

        async def killed(_: float) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await campaign(results, Judge(), now_ms=lambda: NOW_MS + 60_000).watch(
                Selection(), Source([run(1)]), since=since, sleep=killed
            )
        assert await campaign(results, Judge()).left_off() == since + timedelta(minutes=1)

    async def test_time_ends_it(self, results: LineResults) -> None:
        now = [0.0]

        async def sleep(seconds: float) -> None:
            now[0] += seconds

        work = campaign(results, Judge(), limits=Limits(deadline_s=100), clock=lambda: now[0])
        since = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        assert await work.watch(Selection(), Source([]), since=since, every_s=30, sleep=sleep) is End.DEADLINE
        assert now[0] == 120

    async def test_by_rate_and_the_first_of_each_kind(self, results: LineResults) -> None:
        source = Source([*(run(number) for number in range(200)), run(900, workflow_type="Rare")])
        judge = Judge()

        async def sleep(_: float) -> None:
            raise KeyboardInterrupt

        since = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        with pytest.raises(KeyboardInterrupt):
            await campaign(results, judge).watch(Selection(rate=0.1, floor=1), source, since=since, sleep=sleep)
        assert "w900" in judge.judged
        assert 8 < len(judge.judged) < 40

    async def test_the_floor_holds_for_the_whole_time(self, results: LineResults) -> None:
        source = Source(run(number) for number in range(50))
        judge = Judge()
        looks = 0

        async def sleep(_: float) -> None:
            nonlocal looks
            looks += 1
            source.runs += [run(100 * looks + number) for number in range(50)]
            if looks == 4:
                raise KeyboardInterrupt

        since = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        with pytest.raises(KeyboardInterrupt):
            await campaign(results, judge).watch(Selection(rate=0, floor=3), source, since=since, sleep=sleep)
        assert len(judge.judged) == 3
        assert len(await rows(results)) == 3


def test_equal_settings_have_equal_hashes() -> None:
    assert config_hash({"a": 1, "b": [2]}) == config_hash({"b": [2], "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
