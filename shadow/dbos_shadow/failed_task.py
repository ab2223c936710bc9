"""Failed task: what a comparison says when the code has raised on the core, in a workflow task that did not fail there. Pure.

The core's trace ends before that task. So the failure is a difference of its own, and what follows from it stands behind:
steps that are not asked for any more, an end that is not reached. That something never arrived would be untrue: the task that
failed had been shown it, or nobody asked.
"""

from __future__ import annotations

import re
from dataclasses import replace

from dbos_shadow.allow import Allowances
from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference, Kind, Level
from dbos_shadow.trace import canonical

__all__ = ["PLACE", "with_failure"]

PLACE = "workflow task: failed"
"""Of its path; the type of the error comes behind a dot."""

_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")


def with_failure(comparison: Comparison, error_type: str, allowances: Allowances) -> Comparison:
    """The comparison with the failure where it happened: behind what differs before it, in front of what follows from it.

    Args:
        error_type: of the error that the code raised. Never its message, which may hold values.
        allowances: may accept the failure, like any difference.
    """
    name = error_type if _TYPE_NAME.fullmatch(error_type) else "error"
    failure = Difference(
        workflow_type=comparison.workflow_type,
        level=Level.SEQUENCE,
        kind=Kind.EXTRA,
        path=f"{PLACE}.{name}",
        actual=canonical(name),
    )
    last = max((i for i, j in comparison.rows if i is not None and j is not None), default=-1)
    told = [found for found in comparison.differences if not _is_unheard(found)]
    before = [found for found in told if not _follows(found, last)]
    behind = [found for found in told if _follows(found, last)]
    entry = allowances.get(failure.fingerprint)
    if entry is not None and entry.holds(allowances.today):
        return replace(comparison, differences=(*before, *behind), accepted=(*comparison.accepted, (failure, entry)))
    expired = comparison.expired if entry is None else (*comparison.expired, entry)
    return replace(comparison, differences=(*before, failure, *behind), expired=expired)


def _is_unheard(difference: Difference) -> bool:
    return difference.kind is Kind.MISSING and difference.path.endswith(": arrival")


def _follows(difference: Difference, last: int) -> bool:
    """May it be there only since the task failed? ``last``: the last recorded step that was asked for here as well."""
    if difference.level is Level.OUTCOME:
        return True
    return difference.kind is Kind.MISSING and difference.step is not None and difference.step > last
