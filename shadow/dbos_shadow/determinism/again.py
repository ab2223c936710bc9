"""One schedule again: what a pasted-in test calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbos_shadow.determinism.keep import Source, tell
from dbos_shadow.determinism.plan import Plan
from dbos_shadow.determinism.run import Lived, run_schedule


def check_schedule(tested: Any, decisions: Sequence[int]) -> Lived:
    """Run the schedule that a list of decisions stands for.

    A list means something for the workflow and the release of the kit that it was found with: when either offers other
    possibilities, the same list may be another schedule.

    Args:
        tested: a determinism test, or a plan.
        decisions: as an error named them.

    Returns:
        what happened.

    Raises:
        DeterminismError: a rule does not hold. It tells the story.
    """
    __tracebackhide__ = True
    found: Plan = tested if isinstance(tested, Plan) else tested.plan
    lived = run_schedule(found, decisions)
    if lived.error is not None:
        tell(lived.error, Source(f"plan_of_{found.name}"))
        raise lived.error
    return lived
