"""The edits, all of them."""

from __future__ import annotations

from tests.shadow.mutations import others, steps, values
from tests.shadow.mutations.mutation import Mutation

TABLE: list[Mutation] = [
    *steps.ACTIVITIES,
    *steps.TIMERS,
    *steps.LOCAL,
    *others.MESSAGES,
    *others.CHILDREN,
    *others.CHAINS,
    *others.VERSIONS,
    *values.ATTRIBUTES,
    *values.FAILURES,
    *values.VALUES,
    *values.EXAMPLES,
]
