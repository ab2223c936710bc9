"""Unchanged code: every history that a real server has made of it can be read, is replayed by Temporal, and by us the same."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowHistory

from dbos_shadow.diff import diff
from dbos_shadow.free_run import free_run
from dbos_shadow.report import Decision, Report, ReportBuilder, ReportConfig, Rule, to_json
from dbos_shadow.select import shape_of
from dbos_shadow.sources import history
from dbos_shadow.trace import Status, Trace
from dbos_shadow.verdict import Judgement, Reason, Verdict
from tests.shadow.corpus.judges import judgements, replayer, told
from tests.shadow.corpus.programs import THEMES
from tests.shadow.corpus.recorder import Played

pytestmark = [pytest.mark.temporal, pytest.mark.timeout(600)]

HISTORIES = 200
SHAPES = 90

REFUSED_BY_TEMPORAL = {
    "local/late_by_type": "a local activity's timeout is an ActivityError at first, and not when Temporal replays it",
}
"""Histories that Temporal's own Replayer does not accept, though the code is the same, and why."""

INCONCLUSIVE: dict[str, str] = {}
"""Histories of which replay cannot tell, and why."""


@pytest.fixture(scope="module")
def judged(corpus: list[Played]) -> list[tuple[Played, Judgement]]:
    return asyncio.run(judgements(corpus, THEMES))


def trace_of(played: Played) -> Trace:
    return history.trace(played.recorded.events, closed=played.recorded.closed)


def test_the_corpus_is_large_and_of_many_shapes(corpus: list[Played]) -> None:
    assert len(corpus) >= HISTORIES
    assert len({shape_of(trace_of(played)) for played in corpus}) >= SHAPES
    assert {played.name for played in corpus} == {
        f"{theme.name}/{scene}" for theme in THEMES.values() for scene in theme.scenes
    }


def test_every_history_is_a_whole_trace(corpus: list[Played]) -> None:
    for played in corpus:
        found = trace_of(played)
        assert found.incomplete is None, f"{played.name}: {found.incomplete}"
        assert (found.outcome.status is Status.RUNNING) is not played.recorded.closed, played.name
        assert diff(found, found).clean


async def test_temporal_replays_every_history(corpus: list[Played]) -> None:
    judges = {name: replayer(theme) for name, theme in THEMES.items()}
    refused = {}
    for played in corpus:
        recorded = WorkflowHistory(played.recorded.workflow_id, played.recorded.events)
        result = await judges[played.theme].replay_workflow(recorded, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            refused[played.name] = str(result.replay_failure)
    assert refused.keys() == REFUSED_BY_TEMPORAL.keys(), refused


def test_the_core_does_the_same(judged: list[tuple[Played, Judgement]]) -> None:
    different = [f"{played.name}: {told(found)}" for played, found in judged if found.verdict is Verdict.MISMATCH]
    assert not different, "\n".join(different)
    undecided = {played.name: told(found) for played, found in judged if not _is_well(found)}
    assert undecided.keys() == INCONCLUSIVE.keys(), undecided


async def test_the_core_does_the_same_by_itself(corpus: list[Played]) -> None:
    """In a free run: its own tasks, timers and ends, and the world answers from the record."""
    found = await judgements(corpus, THEMES, free_run)
    different = [f"{played.name}: {told(found)}" for played, found in found if not _is_well(found)]
    assert not different, "\n".join(different)


def _is_well(found: Judgement) -> bool:
    """Does it match, or had the code nothing to say?"""
    return found.verdict is Verdict.MATCH or found.reason is Reason.NO_TASK


def test_everything_was_compared(judged: list[tuple[Played, Judgement]]) -> None:
    """But what a history does not hold: inputs and options of local activities, the retry policy of a next run."""
    gaps = {
        (gap.reason, gap.path.partition(":")[0].split()[0])
        for _, found in judged
        if found.comparison is not None
        for gap in found.comparison.unchecked
    }
    assert gaps <= {("not_recorded", "local_activity"), ("not_recorded", "continue_as_new")}


async def test_two_reports_are_equal_byte_by_byte(corpus: list[Played], judged: list[tuple[Played, Judgement]]) -> None:
    again = await judgements(reversed(corpus), THEMES)
    first, second = (report_of(found) for found in (judged, again))
    assert to_json(first) == to_json(second)
    assert first.decision is Decision.GO
    assert first.counts.match + first.counts.not_run == len(corpus)


def report_of(judged: list[tuple[Played, Judgement]]) -> Report:
    builder = ReportBuilder(ReportConfig(key=b"0123456789abcdef", rule=Rule(sample_floor=1)))
    for _, judgement in judged:
        builder.add(judgement)
    return builder.finish()
