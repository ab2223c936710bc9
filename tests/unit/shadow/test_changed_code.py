"""Changed code: the first divergence is found, at its level and step; the rest stays readable; nothing hangs or runs."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from rich.console import Console
from temporalio.worker import UnsandboxedWorkflowRunner

from dbos_compat.workbench import Workbench
from dbos_core.clock import SystemClock
from dbos_core.store.memory import MemoryStore
from dbos_shadow import baseline, temporal_replayer
from dbos_shadow.allow import Accepted, Allowances
from dbos_shadow.baseline import Noise, weighed
from dbos_shadow.checks import explain
from dbos_shadow.difference import Kind, Level
from dbos_shadow.free_run import free_run
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.report import (
    ReportBuilder,
    render_html,
    render_jsonl,
    render_junit,
    render_markdown,
    render_sarif,
    render_text,
    to_json,
)
from dbos_shadow.stored import Stored
from dbos_shadow.verdict import Judgement, Reason, Verdict
from tests.unit.shadow import changed
from tests.unit.shadow.changed import Order
from tests.unit.shadow.changed_activities import ACTIVITIES
from tests.unit.shadow.engine import engine, recorded

RENDERERS = (render_markdown, render_html, render_junit, render_sarif, render_jsonl, to_json)


async def _order() -> Recorded:
    async with engine([Order], ACTIVITIES) as client:
        handle = await client.start_workflow(Order.run, 7, id="order", task_queue="q")
        await handle.signal(Order.note, "careful")
        await handle.result()
        return await recorded(handle)


@pytest.fixture(scope="module")
def order() -> Recorded:
    """What the original code has done."""
    return asyncio.run(_order())


def bench(workflow: type) -> Workbench:
    return Workbench([workflow], workflow_runner=UnsandboxedWorkflowRunner())


@pytest.fixture(autouse=True)
def nothing_runs() -> None:
    changed.RAN.clear()


async def judged(order: Recorded, workflow: type) -> Judgement:
    async with bench(workflow) as opened:
        judgement = await replay_recorded(order, opened)
    assert changed.RAN == []
    return judgement


@pytest.mark.parametrize(
    ("workflow", "level", "kind", "path", "step"),
    [
        (changed.OtherInput, Level.INPUTS, Kind.VALUE, "activity charge: inputs[0].amount", 1),
        (changed.OtherTimer, Level.TIMING, Kind.VALUE, "timer: duration_ms", 2),
        (changed.NoTimer, Level.SEQUENCE, Kind.MISSING, "timer: step", 2),
        (changed.ShipsEarly, Level.SEQUENCE, Kind.ORDER, None, 2),
        (changed.OneMore, Level.SEQUENCE, None, None, None),
        (changed.Fails, Level.SEQUENCE, Kind.EXTRA, "workflow task: failed.KeyError", None),
        (changed.OtherOutcome, Level.OUTCOME, Kind.MISSING, "outcome: values[0].notes[0]", None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_every_change_is_found(
    order: Recorded, workflow: type, level: Level, kind: Kind | None, path: str | None, step: int | None
) -> None:
    judgement = await judged(order, workflow)
    assert judgement.verdict is Verdict.MISMATCH, judgement.note
    assert judgement.comparison is not None
    first = judgement.comparison.first
    assert first is not None
    assert first.level is level
    assert kind is None or first.kind is kind
    assert path is None or first.path == path
    assert step is None or step in (first.step, first.actual_step)


@pytest.mark.parametrize("judge", [replay_recorded, free_run])
async def test_code_that_fails_is_told_first_and_without_its_message(order: Recorded, judge: Any) -> None:
    """It is what differs: nothing failed to arrive, and what is not asked for any more follows from it."""
    async with bench(changed.Fails) as opened:
        judgement = await judge(order, opened)
    assert (judgement.verdict, judgement.subject) == (Verdict.MISMATCH, "KeyError")
    assert judgement.comparison is not None
    first, *rest = judgement.comparison.differences
    assert (first.level, first.kind, first.path) == (Level.SEQUENCE, Kind.EXTRA, "workflow task: failed.KeyError")
    assert not [found.path for found in rest if "arrival" in found.path]
    builder = ReportBuilder()
    builder.add(judgement)
    report = builder.finish()
    title = "a workflow task failed: KeyError"
    assert report.groups[0].title == title
    screen = io.StringIO()
    render_text(report, Console(file=screen, width=200))
    outputs = [screen.getvalue(), *(render(report) for render in RENDERERS)]
    for output in outputs:
        assert title in output
    assert explain(judgement).splitlines()[1].startswith("  L1 workflow task: failed.KeyError: extra  [")
    for output in [*outputs, explain(judgement)]:
        assert "canary" not in output


async def test_what_differs_before_a_failure_stands_before_it(order: Recorded) -> None:
    judgement = await judged(order, changed.OtherInputFails)
    assert judgement.comparison is not None
    paths = [found.path for found in judgement.comparison.differences]
    assert paths[:2] == ["activity charge: inputs[0].amount", "workflow task: failed.KeyError"]


async def test_a_failure_can_be_accepted(order: Recorded) -> None:
    async with bench(changed.Fails) as opened:
        plain = await replay_recorded(order, opened)
        assert plain.comparison is not None
        entries = tuple(
            Accepted(fingerprint=found.fingerprint, reason="known", owner="ada", expires=date(2027, 1, 1))
            for found in plain.comparison.differences
        )
        accepted = await replay_recorded(order, opened, allowances=Allowances(entries, date(2026, 1, 1)))
        expired = await replay_recorded(order, opened, allowances=Allowances(entries, date(2028, 1, 1)))
    assert accepted.verdict is Verdict.ACCEPTED
    assert expired.verdict is Verdict.MISMATCH
    assert expired.comparison is not None
    assert {entry.fingerprint for entry in expired.comparison.expired} == {entry.fingerprint for entry in entries}


async def test_what_is_asked_for_earlier_than_recorded_is_still_answered(order: Recorded) -> None:
    """The outcome stays readable: the workflow comes to its end."""
    judgement = await judged(order, changed.ShipsEarly)
    assert judgement.comparison is not None
    assert not [d for d in judgement.comparison.differences if d.level is Level.OUTCOME]


@pytest.mark.parametrize(("workflow", "verdict"), [(Order, Verdict.MATCH), (changed.NoTimer, Verdict.MISMATCH)])
async def test_through_a_store(order: Recorded, workflow: type, verdict: Verdict) -> None:
    async with bench(workflow) as opened, Stored(MemoryStore(SystemClock())) as store:
        plain = await replay_recorded(order, opened)
        judgement = await replay_recorded(order, opened, store=store)
    assert judgement.verdict is verdict, judgement.note
    assert judgement.comparison == plain.comparison


# -- the noise baseline ------------------------------------------------------------------------------------------------


async def measured(order: Recorded, workflow: type) -> Judgement:
    async with bench(workflow) as opened:
        (judgement,) = await baseline.measure([order], opened, [await replay_recorded(order, opened)])
    return judgement


async def test_unchanged_code_stays_a_match(order: Recorded) -> None:
    judgement = await measured(order, Order)
    assert (judgement.verdict, judgement.reason, judgement.note) == (Verdict.MATCH, None, "")


async def test_changed_code_that_temporal_refuses_stays_a_mismatch(order: Recorded) -> None:
    judgement = await measured(order, changed.NoTimer)
    assert (judgement.verdict, judgement.reason) == (Verdict.MISMATCH, Reason.BASELINE)
    assert judgement.comparison is not None
    assert judgement.comparison.differences


async def test_changed_inputs_are_found_though_temporal_accepts_them(order: Recorded) -> None:
    judgement = await measured(order, changed.OtherInput)
    assert (judgement.verdict, judgement.reason) == (Verdict.MISMATCH, None)


async def test_a_workflow_that_is_not_deterministic_is_told_so(order: Recorded) -> None:
    judgement = await measured(order, changed.Unsteady)
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, Reason.NONDETERMINISTIC)
    assert "activity ship: inputs[0][*]" in judgement.note or "activity ship: inputs[0]" in judgement.note


@pytest.mark.parametrize("workflow", [changed.NoTimer, changed.Fails])
def test_a_replayer_of_temporal_that_never_answers_is_given_up(
    order: Recorded, workflow: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops for ever on changed code where every error fails the workflow; neither the verdict nor the loop's end waits."""
    monkeypatch.setattr(temporal_replayer, "SILENT_MAX", 1)
    options: dict[str, Any] = {"workflow_failure_exception_types": [Exception]}

    async def work() -> tuple[Judgement, Judgement]:
        async with Workbench([workflow], workflow_runner=UnsandboxedWorkflowRunner(), **options) as opened:
            plain = await replay_recorded(order, opened)
            (first,) = await baseline.measure([order], opened, [plain], answer_s=1)
            async with asyncio.timeout(10):
                (second,) = await baseline.measure([order], opened, [plain], answer_s=60)
        return first, second

    for judgement in asyncio.run(work()):
        assert (judgement.verdict, judgement.reason) == (Verdict.MISMATCH, None)
        assert judgement.noise == Noise(missing=True)
        assert baseline.MISSING in judgement.note


async def test_weighing(order: Recorded) -> None:
    match = await judged(order, Order)
    steady = Noise(refused=(None, None))
    assert weighed(match, steady) == replace(match, noise=steady)
    wavers = weighed(match, Noise(refused=(None, "NondeterminismError")))
    assert (wavers.verdict, wavers.reason) == (Verdict.INCONCLUSIVE, Reason.NONDETERMINISTIC)
    lenient = weighed(match, Noise(refused=("NondeterminismError", "NondeterminismError")))
    assert (lenient.verdict, lenient.reason) == (Verdict.INCONCLUSIVE, Reason.BASELINE)
    mixed = await judged(order, changed.OneMore)
    assert mixed.comparison is not None
    own = mixed.comparison.differences[0].pattern
    rest = weighed(mixed, Noise(unsteady=frozenset({own})))
    assert rest.comparison is not None
    assert rest.verdict is Verdict.MISMATCH
    assert own not in {difference.pattern for difference in rest.comparison.differences}
    every = frozenset(difference.pattern for difference in mixed.comparison.differences)
    assert weighed(mixed, Noise(unsteady=every)).reason is Reason.NONDETERMINISTIC
