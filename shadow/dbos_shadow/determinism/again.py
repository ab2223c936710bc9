"""One schedule again: what a pasted-in test calls."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from dbos_shadow.determinism.elsewhere import callers, reference_to
from dbos_shadow.determinism.failure import UncheckedWarning
from dbos_shadow.determinism.keep import TIMES, Source, tell
from dbos_shadow.determinism.once_more import HASH_SEEDS, judge
from dbos_shadow.determinism.plan import Plan, profile_of
from dbos_shadow.determinism.run import Lived
from dbos_shadow.determinism.schedule import Limits


def check_schedule(
    tested: Any, decisions: Sequence[int], *, times: int = TIMES, hash_seeds: Sequence[int] = HASH_SEEDS
) -> Lived:
    """Run the schedule that a list of decisions stands for, and assert what is asserted when schedules are explored: the
    rules, a second run, Temporal's Replayer on its history, and the same commands in fresh processes with other hash seeds.

    A list means something for the workflow and the release of the kit that it was found with: when either offers other
    possibilities, the same list may be another schedule.

    Args:
        tested: a determinism test, or a plan.
        decisions: as an error named them.
        times: so often it is run here: more where chance has a say in whether the rule breaks.
        hash_seeds: of the fresh processes, each of which takes a second to begin; none: it runs here alone.

    Returns:
        what happened.

    Warns:
        UncheckedWarning: other hash seeds were not tried, since no attribute of a module leads to what is tested.

    Raises:
        DeterminismError: a rule does not hold. It tells the story.
    """
    __tracebackhide__ = True
    found: Plan = tested if isinstance(tested, Plan) else tested.plan
    modules = (*callers(), getattr(tested, "__module__", ""), found.definition.cls.__module__)
    limits = Limits() if tested is found else Limits(actions=profile_of(tested.profile).actions)
    judged = judge(
        found, decisions, reference=reference_to(found, *modules), times=times, hash_seeds=hash_seeds, limits=limits
    )
    if judged.lived.error is not None:
        tell(judged.lived.error, Source.of(tested, *modules))
        raise judged.lived.error
    for what in judged.unchecked:
        warnings.warn(f"{found.name}: {what}.", UncheckedWarning, stacklevel=2)
    return judged.lived
