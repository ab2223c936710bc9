"""The run that shows a difference → its steps in two columns and its differences, scrubbed. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference
from dbos_shadow.groups import Exemplar
from dbos_shadow.report.model import DifferenceShown, ExemplarShown, Row, StepShown
from dbos_shadow.report.scrub import Scrubber, Shown
from dbos_shadow.trace import Failure, Step, Trace, Values, canonical

__all__ = ["Traces", "exemplar_shown"]

CONTEXT = 3
"""Equal rows shown before and behind one that differs."""
ROWS_MAX = 60
WITHOUT_ID = (
    "# Its id is hashed here, so no command can name the run. `dbos-compat shadow report -o report.html` without --hash-ids "
    "makes this report with ids, of the same results, and with a command that shows it again."
)
DIFFERENCES_MAX = 40

Part = Literal["start", "step", "message", "outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    step: StepShown | None = None
    text: str = ""
    values: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Traces:
    """Both traces of the exemplar, where they are at hand."""

    expected: Trace | None
    actual: Trace | None


def exemplar_shown(
    exemplar: Exemplar, comparison: Comparison, traces: Traces, *, command: str, scrub: Scrubber
) -> ExemplarShown:
    """What a reader needs to understand one difference, and to see it again."""
    here = exemplar.difference
    others = [found for found in comparison.differences if found is not here]
    workflow_id, run_id = scrub.id(exemplar.workflow_id), scrub.id(exemplar.run_id)
    rows, left_out = _windowed(list(_rows(comparison, traces, here, scrub)))
    return ExemplarShown(
        workflow_id=workflow_id,
        run_id=run_id,
        steps=exemplar.steps,
        differences=exemplar.differences,
        shown=tuple(_difference(found, here, scrub) for found in [here, *others][:DIFFERENCES_MAX]),
        rows=rows,
        rows_left_out=left_out,
        command=command.format(
            workflow_id=shlex.quote(workflow_id),
            run_id=shlex.quote(run_id),
            workflow_type=shlex.quote(comparison.workflow_type),
        )
        if scrub.shows_ids
        else WITHOUT_ID,
    )


def _difference(found: Difference, here: Difference, scrub: Scrubber) -> DifferenceShown:
    return DifferenceShown(
        level=found.level,
        kind=found.kind,
        path=scrub.path(found.path),
        step=found.step,
        actual_step=found.actual_step,
        expected=scrub.text(found.path, found.expected),
        actual=scrub.text(found.path, found.actual),
        here=found is here,
    )


# -- rows ----------------------------------------------------------------------------------------------------------------


def _rows(comparison: Comparison, traces: Traces, here: Difference, scrub: Scrubber) -> Iterator[Row]:
    expected, actual = traces.expected, traces.actual
    if expected is None or actual is None or not _hold(expected, actual, comparison):
        return
    differences = comparison.differences
    first = comparison.first

    def row(part: Part, label: str, of: list[Difference], mine: _Cell, theirs: _Cell) -> Row:
        return Row(
            part=part,
            label=label,
            expected=mine.step,
            actual=theirs.step,
            expected_text=mine.text,
            actual_text=theirs.text,
            expected_values=mine.values,
            actual_values=theirs.values,
            differs=bool(of),
            here=any(found is here for found in of),
            first=any(found is first for found in of),
        )

    placeless = [found for found in differences if found.step is None and found.actual_step is None]
    at_start = [found for found in placeless if found.path.startswith("start:")]
    at_end = [found for found in placeless if found.path.startswith("outcome:")]
    yield row("start", "start", at_start, _start(expected, scrub), _start(actual, scrub))
    for i, j in comparison.rows:
        mine = _Cell() if i is None else _Cell(step=_step(i, expected.steps[i], scrub))
        theirs = _Cell() if j is None else _Cell(step=_step(j, actual.steps[j], scrub))
        of = [found for found in differences if _stands(found, i, j)]
        step = expected.steps[i] if i is not None else actual.steps[j] if j is not None else None
        yield row("step", step.label if step else "", of, mine, theirs)
    messages: dict[str, list[Difference]] = {}
    for found in placeless:
        if found not in at_start and found not in at_end:
            messages.setdefault(scrub.path(found.path), []).append(found)
    for path, of in messages.items():
        sides = [scrub.text(of[0].path, side) for side in (of[0].expected, of[0].actual)]
        mine, theirs = (_Cell(text=side.short if side else "") for side in sides)
        yield row("message", path, of, mine, theirs)
    yield row("outcome", "outcome", at_end, _outcome(expected, scrub), _outcome(actual, scrub))


def _hold(expected: Trace, actual: Trace, comparison: Comparison) -> bool:
    """Do the traces have their steps? Those of a stored result may have been left out."""
    last_mine = max((i for i, _ in comparison.rows if i is not None), default=-1)
    last_theirs = max((j for _, j in comparison.rows if j is not None), default=-1)
    return last_mine < len(expected.steps) and last_theirs < len(actual.steps)


def _stands(found: Difference, i: int | None, j: int | None) -> bool:
    if found.step is not None:
        return found.step == i
    return found.actual_step is not None and found.actual_step == j


def _step(index: int, step: Step, scrub: Scrubber) -> StepShown:
    inputs = step.inputs
    return StepShown(
        index=index,
        activation=step.activation,
        kind=step.kind.value,
        name=step.name,
        id=scrub.id(step.id),
        inputs=None if inputs is None else _values(f"{step.label}: inputs", inputs, scrub),
        duration_ms=step.duration_ms,
    )


def _start(trace: Trace, scrub: Scrubber) -> _Cell:
    return _Cell(text=trace.workflow_type, values=_values("start: inputs", trace.inputs, scrub))


def _outcome(trace: Trace, scrub: Scrubber) -> _Cell:
    outcome = trace.outcome
    failure = [_failure(outcome.failure, scrub)] if outcome.failure else []
    text = " ".join([outcome.status.value.replace("_", " "), *failure])
    return _Cell(text=text, values=_values("outcome: values", outcome.values, scrub))


def _values(path: str, values: Values, scrub: Scrubber) -> tuple[Shown, ...]:
    return tuple(scrub.value(f"{path}[{number}]", value) for number, value in enumerate(values))


def _failure(failure: Failure, scrub: Scrubber) -> str:
    shown = scrub.text("outcome: failure.type", canonical(failure.type)) if failure.type else None
    return " ".join([failure.kind, shown.short if shown else ""]).strip()


def _windowed(rows: list[Row]) -> tuple[tuple[Row, ...], int]:
    """The rows that differ with what stands around them, the start and the end; how many are left out behind."""
    keep: set[int] = {0, len(rows) - 1}
    for index, row in enumerate(rows):
        if row.differs:
            keep.update(range(index - CONTEXT, index + CONTEXT + 1))
    if len(rows) <= 2 * CONTEXT + len(keep):
        keep = set(range(len(rows)))
    must = next((index for index, row in enumerate(rows) if row.here), 0)
    shown: list[Row] = []
    last = -1
    for index in sorted(keep & set(range(len(rows)))):
        room = ROWS_MAX - len(shown)
        if room <= 0 or (room <= CONTEXT and index < must - CONTEXT):
            continue
        shown.append(rows[index].model_copy(update={"left_out": index - last - 1}))
        last = index
    return tuple(shown), len(rows) - 1 - last if rows else 0
