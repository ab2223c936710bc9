"""Kept: a judgement → a line of JSON without payload values, and back, so that a report can be made of it later.

Values, failure messages and notes are scrubbed before anything is written (``report.scrub``): where a value stood, its hash
stands. What comes back is a judgement in whose values the scrubbed forms stand; ``KeptScrubber`` shows them as they are.
Whoever makes a report must use it, and both must have the same key and the same globs of allowed paths.

Step lists are kept of the runs that were, when they were judged, the clearest example of one of their differences: the
clearest example of all is among them.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from typing import Any

from dbos_shadow.allow import Accepted
from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference, Kind, Level, Unchecked
from dbos_shadow.groups import Groups
from dbos_shadow.report.scrub import Scrubber, Shown
from dbos_shadow.trace import Failure, Incomplete, Outcome, Plain, Status, Step, StepKind, Trace, Value, Values
from dbos_shadow.verdict import Judgement, Noise, Reason, Verdict, Way

__all__ = ["Keeper", "KeptScrubber", "restore"]

FORMAT = 1
DIFFERENCES_MAX = 200
"""Of one run. More say nothing that these do not."""


# -- writing -----------------------------------------------------------------------------------------------------------


class Keeper:
    """Judgements → documents, scrubbed."""

    def __init__(self, scrub: Scrubber) -> None:
        """
        Args:
            scrub: with the campaign's key. Ids are kept as they are: a run is found again by them.
        """
        self._scrub = scrub
        self._groups = Groups()

    def __call__(self, judgement: Judgement) -> str:
        comparison = judgement.comparison
        clearest = comparison is not None and bool(
            self._groups.add(comparison, workflow_id=judgement.workflow_id, run_id=judgement.run_id)
        )
        document = {
            "v": FORMAT,
            "type": judgement.workflow_type,
            "id": judgement.workflow_id,
            "run": judgement.run_id,
            "verdict": judgement.verdict.value,
            "way": judgement.way.value,
            "reason": judgement.reason.value if judgement.reason else None,
            "note": _shown(self._scrub.note(judgement.note)),
            "subject": judgement.subject,
            "comparison": None if comparison is None else self._comparison(comparison),
            "expected": self._trace(judgement.expected, whole=clearest),
            "actual": self._trace(judgement.actual, whole=clearest),
            "masked": dict(judgement.masked),
            "shape": judgement.shape,
            "features": sorted(judgement.features),
            "steps": judgement.steps,
            "events": judgement.events,
            "noise": self._noise(judgement.noise),
        }
        return json.dumps({name: part for name, part in document.items() if part not in (None, "", {}, [])})

    def _noise(self, noise: Noise | None) -> list[Any] | None:
        if noise is None:
            return None
        return [noise.refused, sorted(map(self._scrub.path, noise.unsteady)), *([True] if noise.missing else [])]

    def _comparison(self, comparison: Comparison) -> dict[str, Any]:
        return {
            "type": comparison.workflow_type,
            "differences": [self._difference(found) for found in comparison.differences[:DIFFERENCES_MAX]],
            "accepted": [[self._difference(found), _accepted(entry)] for found, entry in comparison.accepted],
            "expired": [_accepted(entry) for entry in comparison.expired],
            "unchecked": [
                [self._scrub.path(gap.path), gap.reason, gap.step, gap.actual_step] for gap in comparison.unchecked
            ],
            "incomplete": [[found.code, found.reason] for found in comparison.incomplete],
            "rows": comparison.rows if comparison.differences else [],
        }

    def _difference(self, found: Difference) -> dict[str, Any]:
        path = self._scrub.path(found.path)
        shown = {
            "type": found.workflow_type,
            "level": found.level.value,
            "kind": found.kind.value,
            "path": path,
            "step": found.step,
            "actual_step": found.actual_step,
            "expected": _shown(self._scrub.text(found.path, found.expected)),
            "actual": _shown(self._scrub.text(found.path, found.actual)),
        }
        scrubbed = self._scrub.path(found.pattern)
        if not path == found.path == found.pattern == scrubbed:  # its fingerprint may be over what may not be kept
            shown["fingerprint"] = found.fingerprint
            shown["pattern"] = scrubbed
        return {name: part for name, part in shown.items() if part is not None}

    def _trace(self, trace: Trace | None, *, whole: bool) -> dict[str, Any] | None:
        if trace is None:
            return None
        outcome = trace.outcome
        kept: dict[str, Any] = {"at": trace.at_ms, "ended": outcome.at_ms, "status": outcome.status.value}
        if not whole:
            return kept
        failure = outcome.failure
        return {
            **kept,
            "type": trace.workflow_type,
            "inputs": self._values("start: inputs", trace.inputs),
            "values": self._values("outcome: values", outcome.values),
            "failure": None
            if failure is None
            else [failure.kind, _shown(self._scrub.text("outcome: failure.type", json.dumps(failure.type)))],
            "steps": [
                [
                    step.kind.value,
                    step.activation,
                    step.name,
                    self._scrub.id(step.id),
                    None if step.inputs is None else self._values(f"{step.label}: inputs", step.inputs),
                    step.duration_ms,
                ]
                for step in trace.steps
            ],
        }

    def _values(self, path: str, values: Values) -> list[Any]:
        return [_shown(self._scrub.value(f"{path}[{n}]", value)) for n, value in enumerate(values)]


def _shown(found: Shown | None) -> list[Any] | None:
    """[text] of what may be seen, [type, hash] of what may not."""
    if found is None:
        return None
    return [found.text] if found.hash is None and not found.type else [found.text, found.type, found.hash]


def _accepted(entry: Accepted) -> list[str]:
    return [entry.fingerprint, entry.reason, entry.owner, entry.expires.isoformat()]


# -- reading -----------------------------------------------------------------------------------------------------------


def restore(document: str) -> Judgement:
    """The judgement of a document, for a builder of reports with a ``KeptScrubber``.

    Raises:
        ValueError: it is not a document of ours, or a newer release has written it.
    """
    found = json.loads(document)
    if not isinstance(found, dict) or found.get("v") != FORMAT:
        raise ValueError("A newer release of dbos-compat has written these results. Upgrade, or judge the runs again.")
    return Judgement(
        workflow_type=found.get("type", ""),
        workflow_id=found.get("id", ""),
        run_id=found.get("run", ""),
        verdict=Verdict(found["verdict"]),
        way=Way(found["way"]),
        reason=Reason(found["reason"]) if "reason" in found else None,
        note=json.dumps(found["note"]) if "note" in found else "",
        subject=found.get("subject", ""),
        comparison=_comparison_of(found["comparison"]) if "comparison" in found else None,
        expected=_trace_of(found.get("expected")),
        actual=_trace_of(found.get("actual")),
        masked=found.get("masked", {}),
        shape=found.get("shape", ""),
        features=frozenset(found.get("features", ())),
        steps=found.get("steps", 0),
        events=found.get("events", 0),
        noise=_noise_of(found["noise"]) if "noise" in found else None,
    )


def _noise_of(found: list[Any]) -> Noise:
    refused, unsteady, *missing = found
    return Noise(refused=tuple(refused), unsteady=frozenset(unsteady), missing=bool(missing))


def _comparison_of(found: dict[str, Any]) -> Comparison:
    return Comparison(
        workflow_type=found["type"],
        differences=tuple(_difference_of(one) for one in found["differences"]),
        accepted=tuple((_difference_of(one), _accepted_of(entry)) for one, entry in found["accepted"]),
        expired=tuple(_accepted_of(entry) for entry in found["expired"]),
        unchecked=tuple(
            Unchecked(path=path, reason=reason, step=step, actual_step=actual)
            for path, reason, step, actual in found["unchecked"]
        ),
        incomplete=tuple(Incomplete(code=code, reason=reason) for code, reason in found["incomplete"]),
        rows=tuple((i, j) for i, j in found["rows"]),
    )


def _difference_of(found: dict[str, Any]) -> Difference:
    made = Difference(
        workflow_type=found["type"],
        level=Level(found["level"]),
        kind=Kind(found["kind"]),
        path=found["path"],
        step=found.get("step"),
        actual_step=found.get("actual_step"),
        expected=_text(found.get("expected")),
        actual=_text(found.get("actual")),
    )
    for name in ("fingerprint", "pattern"):  # both are cached: over the path as it was
        if name in found:
            made.__dict__[name] = found[name]
    return made


def _accepted_of(found: list[str]) -> Accepted:
    fingerprint, reason, owner, expires = found
    return Accepted(fingerprint=fingerprint, reason=reason, owner=owner, expires=date.fromisoformat(expires))


def _text(shown: list[Any] | None) -> str | None:
    return None if shown is None else json.dumps(shown)


def _trace_of(found: dict[str, Any] | None) -> Trace | None:
    if found is None:
        return None
    outcome = Outcome(status=Status(found["status"]), at_ms=found["ended"])
    if "steps" not in found:
        return Trace(workflow_type="", at_ms=found["at"], outcome=outcome)
    failure = found["failure"]
    outcome = dataclasses.replace(
        outcome,
        values=_values_of(found["values"]),
        failure=None if failure is None else Failure(kind=failure[0], type=_text(failure[1]) or ""),
    )
    steps = tuple(
        Step(
            kind=StepKind(kind),
            activation=activation,
            name=name,
            id=step_id,
            inputs=None if inputs is None else _values_of(inputs),
            duration_ms=duration_ms,
        )
        for kind, activation, name, step_id, inputs, duration_ms in found["steps"]
    )
    return Trace(
        workflow_type=found["type"],
        inputs=_values_of(found["inputs"]),
        steps=steps,
        outcome=outcome,
        at_ms=found["at"],
    )


def _values_of(found: list[Any]) -> Values:
    return tuple(Plain(json.dumps(shown)) for shown in found)


class KeptScrubber(Scrubber):
    """Shows what was scrubbed before it was kept, as it was kept."""

    def text(self, path: str, text: str | None) -> Shown | None:
        return None if text is None else _read(text)

    def value(self, path: str, value: Value) -> Shown:
        assert isinstance(value, Plain)
        return _read(value.text)

    def note(self, text: str) -> Shown | None:
        return _read(text) if text else None

    def _path(self, path: str) -> str:
        return path


def _read(text: str) -> Shown:
    found = json.loads(text)
    if isinstance(found, str):  # of a failure's type, which is asked for as JSON of a text
        found = json.loads(found)
    return Shown(text=found[0]) if len(found) == 1 else Shown(text=found[0], type=found[1], hash=found[2])
