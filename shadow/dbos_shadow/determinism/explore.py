"""Explore: many schedules of one plan, chosen by Hypothesis; one that breaks a rule is shrunk (``shrink``)."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings, target
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Drawn, Listed, Rolled, thrown, trimmed
from dbos_shadow.determinism.elsewhere import NOWHERE, Reference, callers, reference_to
from dbos_shadow.determinism.failure import DeterminismError, Rule, UncheckedWarning
from dbos_shadow.determinism.keep import Source, tell
from dbos_shadow.determinism.once_more import accepted, same_elsewhere, twice
from dbos_shadow.determinism.plan import Plan, Profile, plan, profile_of
from dbos_shadow.determinism.run import Lived, live
from dbos_shadow.determinism.schedule import Limits
from dbos_shadow.determinism.shrink import shrink
from dbos_shadow.determinism.silence import quiet
from dbos_shadow.determinism.singles import Noting, singles


@dataclass(slots=True)
class Explored:
    """What was tried, and nothing broke."""

    schedules: int = 0
    seconds: float = 0.0
    steps: int = 0
    """Workflow tasks in all of them."""
    widest: int = 0
    deepest: int = 0
    kept: tuple[tuple[int, ...], ...] = ()
    """Some of the schedules, for whoever wants to run them elsewhere."""
    replayed: int = 0
    """Histories that Temporal's Replayer accepted."""
    elsewhere: int = 0
    """Schedules that other processes ran, with other hash seeds."""
    unchecked: tuple[str, ...] = ()
    """What could not be asserted, and why."""

    @property
    def per_second(self) -> float:
        return self.schedules / self.seconds if self.seconds else 0.0


KEPT = 40
SINGLES_SHARE = 0.6
"""So much of the time, and of the schedules, at most for those in which one thing is out of the ordinary."""
TOWARDS = 6
"""One in so many schedules is chosen for more attempts at once, or a deeper replay, than those before."""
AT_ONCE = 10
"""So many schedules by chance make an example of Hypothesis."""
SPARE = 100
"""Draws beyond those that are missing: of these, too, some may have been drawn before."""
Told = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""
ELSEWHERE = 20
"""Schedules that are run with another hash seed."""
SHRINK_S = 20.0
OFTEN = 20
OFTEN_S = 3.0
"""So often, and for so long, a schedule is run that breaks a rule, to know whether it always does."""
SURE = 7
"""A test that is to fail runs so many times as often as it takes on average: one in a thousand passes."""


def check_workflow(
    tested: Plan,
    *,
    profile: Profile | str | None = None,
    kept: Sequence[Sequence[int]] = (),
    seed: int | None = None,
    reference: Reference | None = None,
    shrinks: bool = True,
    told: Told | None = None,
) -> Explored:
    """Try schedules of a workflow until one breaks a rule, or the profile is used up.

    Args:
        tested: what is tested.
        profile: how much is tried.
        kept: decision lists to begin with (earlier failures).
        seed: for Hypothesis; without one a run is always the same.
        shrinks: False: the first schedule that breaks a rule is good enough.
        told: called again and again with what is being done, and how far it is.
        reference: where another process finds the plan; without one no other hash seeds are tried.

    Raises:
        DeterminismError: a rule does not hold; it has the shrunk schedule.
        BadPlan: there are no values for something that is needed.
    """
    how = profile_of(profile)
    crew = Crew(tested)
    try:
        with quiet():
            explored = _explore(crew, how, kept, seed, shrinks, told or _nobody)
            explored.unchecked += tuple(crew.unchecked)
            _accepted(crew, how, explored, kept)
            _elsewhere(crew, how, explored, kept, reference, told or _nobody)
            return explored
    finally:
        crew.close()


def _nobody(what: str, done: int, of: int) -> None: ...


def _explore(
    crew: Crew, how: Profile, kept: Sequence[Sequence[int]], seed: int | None, shrinks: bool, told: Told
) -> Explored:
    limits = Limits(actions=how.actions)
    for decisions in ((), *kept):
        lived = live(crew, Listed(decisions), limits=limits, whole=False)
        if lived.error is None:
            lived = twice(crew, lived, limits)
        if lived.error is not None:
            raise _counted(crew, lived.error, limits)
    explored = Explored()
    begun = time.monotonic()
    deadline = begun + how.seconds
    best: list[Lived] = []
    some: list[tuple[int, ...]] = []

    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    """Width and depth of what has been lived, by what was drawn."""

    def any_few(data: st.DataObject) -> None:
        for begin in thrown(data, AT_ONCE):  # what Hypothesis does around an example is not for nothing
            one(Rolled(begin, most=how.decisions))

    def like_others(data: st.DataObject) -> None:
        width, depth = one(Drawn(data, most=how.decisions))
        target(float(width), label="attempts at once")
        target(float(depth), label="depth of replay")

    def one(decisions: Drawn | Rolled) -> tuple[int, int]:
        measured = seen.get(decisions.drawn)
        if measured is None:
            if time.monotonic() > deadline or explored.schedules >= how.schedules:
                return 0, 0  # Hypothesis has no word for "enough"; what is left of its examples costs next to nothing
            measured = seen[decisions.drawn] = fresh(decisions)
        return measured

    def fresh(decisions: Drawn | Rolled) -> tuple[int, int]:
        once_more = explored.schedules % how.twice_every == 0
        lived = live(crew, decisions, limits=limits, whole=False)
        if lived.error is None and once_more:
            lived = twice(crew, lived, limits)
        if lived.error is not None:
            best.append(lived)
            raise lived.error
        explored.schedules += 1
        explored.steps += lived.depth
        explored.widest = max(explored.widest, lived.width)
        explored.deepest = max(explored.deepest, lived.depth)
        told("schedules", explored.schedules, how.schedules)
        if len(some) < KEPT and explored.schedules % 7 == 1:
            some.append(lived.decisions)
        return lived.width, lived.depth

    def single(decisions: Noting) -> None:
        lived = live(crew, decisions, limits=limits, whole=False)
        if lived.error is not None:
            raise _smallest(crew, lived, limits, told) if shrinks else lived.error
        explored.schedules += 1
        explored.steps += lived.depth
        told("schedules", explored.schedules, how.schedules)

    for decisions in singles(single, how.decisions):
        if explored.schedules % 7 == 1 and len(some) < KEPT // 2:
            some.append(tuple(decisions))
        if time.monotonic() > begun + how.seconds * SINGLES_SHARE or explored.schedules > how.schedules * SINGLES_SHARE:
            break

    towards = how.schedules // TOWARDS
    by_chance = max(how.schedules - explored.schedules - towards, 1)
    try:
        _hypothesis(any_few, ceil(by_chance / AT_ONCE), [Phase.generate], seed)()
        if towards:
            _hypothesis(like_others, towards, [Phase.generate, Phase.target], 1 if seed is None else seed + 1)()
        missing = how.schedules - explored.schedules
        if missing > 0 and time.monotonic() < deadline:  # some of those were drawn more than once
            more = ceil((missing + SPARE) / AT_ONCE)
            _hypothesis(any_few, more, [Phase.generate], 2 if seed is None else seed + 2)()
    except (DeterminismError, Flaky):
        if not best:
            raise
        if not shrinks:
            assert best[0].error is not None
            raise best[0].error from None
        raise _smallest(crew, best[0], limits, told) from None
    explored.seconds = time.monotonic() - begun
    explored.kept = tuple(some)
    return explored


def _sample(explored: Explored, kept: Sequence[Sequence[int]], most: int) -> list[tuple[int, ...]]:
    """Some of the schedules that were lived, the plain one first, and all that were asked for."""
    asked = [tuple(trimmed(decisions)) for decisions in kept]
    return list(dict.fromkeys([(), *asked, *explored.kept]))[: max(most, 1 + len(asked))]


def _accepted(crew: Crew, how: Profile, explored: Explored, kept: Sequence[Sequence[int]]) -> None:
    """Temporal's Replayer takes the histories of some of them."""
    most = 1 + (explored.schedules // how.replayer_every if how.replayer_every else 0)
    limits = Limits(actions=how.actions)
    explored.replayed += accepted(crew, [live(crew, Listed(d), limits=limits) for d in _sample(explored, kept, most)])


def _elsewhere(
    crew: Crew,
    how: Profile,
    explored: Explored,
    kept: Sequence[Sequence[int]],
    reference: Reference | None,
    told: Told,
) -> None:
    """Processes with other hash seeds ask for the same."""
    if not how.hash_seeds:
        return
    if reference is None:
        explored.unchecked += (NOWHERE,)
        return
    limits = Limits(actions=how.actions)
    here = [live(crew, Listed(decisions), limits=limits) for decisions in _sample(explored, kept, ELSEWHERE)]
    for seed in range(1, how.hash_seeds + 1):
        told("other hash seeds", seed - 1, how.hash_seeds)
        explored.elsewhere += same_elsewhere(crew, here, reference, seed, limits)


def _hypothesis(
    one: Callable[[st.DataObject], None], examples: int, phases: Sequence[Phase], seed: int | None
) -> Callable[[], None]:
    wrapped: Any = given(st.data())(one)
    wrapped = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=phases,
    )(wrapped)
    if seed is not None:
        wrapped = hypothesis.seed(seed)(wrapped)
    found: Callable[[], None] = wrapped
    return found


def _smallest(crew: Crew, found: Lived, limits: Limits, told: Told) -> DeterminismError:
    """The error of the smallest schedule that breaks the same rule."""
    assert found.error is not None
    rule, errors = found.error.rule, {found.decisions: found.error}
    deadline = time.monotonic() + SHRINK_S

    def once(decisions: Sequence[int]) -> DeterminismError | None:
        error = live(crew, Listed(decisions), limits=limits, whole=False).error
        return error if error is not None and error.rule is rule else None

    tries = 1 if all(once(found.decisions) for _ in range(3)) else 5  # some bugs show themselves now and then

    tried = itertools.count(1)

    def breaks(decisions: tuple[int, ...]) -> Sequence[int] | None:
        told("smaller schedules", next(tried), 0)
        for _ in range(tries):
            error = once(decisions)
            if error is not None:
                errors[decisions] = errors[tuple(error.decisions)] = error
                return error.decisions
        return None

    smallest = shrink(found.decisions, breaks, lambda: time.monotonic() < deadline)
    return _counted(crew, errors.get(smallest) or once(smallest) or found.error, limits)


def _counted(crew: Crew, error: DeterminismError, limits: Limits) -> DeterminismError:
    """The error, which knows how often its schedule is to be run to break its rule."""
    if error.rule is not Rule.SAME_COMMANDS:  # which two runs break
        runs = broken = 0
        deadline = time.monotonic() + OFTEN_S
        while runs < OFTEN and time.monotonic() < deadline:
            again = live(crew, Listed(error.decisions), limits=limits, whole=False).error
            runs, broken = runs + 1, broken + (again is not None and again.rule is error.rule)
        if broken < runs:
            error.times = ceil(SURE * (runs + 2) / (broken + 1))
    return error


class DeterminismTest(Protocol):
    """What :func:`determinism_test` returns: pytest collects it, since it is a function."""

    plan: Plan
    profile: Profile | str | None

    def __call__(self) -> None: ...


def determinism_test(
    run: Any,
    *,
    profile: Profile | str | None = None,
    kept: Sequence[Sequence[int]] = (),
    **options: Any,
) -> DeterminismTest:
    """A test that explores schedules of a workflow, for pytest to collect.

    Args:
        run: the workflow's ``@workflow.run`` method, or its class.
        profile: how much is tried: "fast" (10 s), "ci", "nightly", or a :class:`Profile`.
        kept: decision lists of earlier failures, tried first, and with other hash seeds and Temporal's Replayer as well.
        args: strategy, ``from_type(...)`` or constant of the argument; a list of them for several. From the annotations
            without; parameters with defaults are then left out, or given.
        activities: what activities may do, by function or name: ``returns``, ``may_fail``, ``raises``, ``times_out``. An
            activity that is not there must not be started.
        signals, updates, queries: handler methods of the class, or ``sends(handler, values ...)``.
        children: what child workflows may do, by class or name, as for activities; ``None`` for one that is to run.
        invariants: functions over the :class:`~dbos_shadow.trace.Trace` of a run that has ended. One holds unless it
            returns ``False`` or raises an exception.
        then: a class whose code takes over at some point, under the same workflow name.
        fallback: stubs for activities that have none, by name.
        cancels: the workflow may be cancelled.
        must_end: it has to end once everything has come. Without it one that waits for ever is no error.
        allow: rules not to insist on: "task-failures", "unfinished-handlers", "unfinished-updates", "query-answers".
        sandboxed: as Temporal's default. False is much faster.
        client_options, worker_options: of ``Client`` and ``Worker``: data converter, interceptors, plugins, runner ...
        start_options: of ``Client.start_workflow``.

    Raises:
        BadPlan: an argument is none that means anything.

    Warns (when called):
        UncheckedWarning: other hash seeds were not tried, since no attribute of a module leads to the test.

    Raises (when called):
        DeterminismError: a rule does not hold.
        BadPlan: there are no values for something that is needed.
    """
    tested = plan(run, **options)
    modules = callers()  # a test to paste in calls this one by its name in one of them

    def test() -> None:
        __tracebackhide__ = True
        chosen: Profile | str | None = getattr(test, "profile", None)
        try:
            explored = check_workflow(tested, profile=chosen, kept=kept, reference=reference_to(tested, *modules))
        except DeterminismError as error:
            tell(error, Source.of(test, *modules))
            raise
        for what in explored.unchecked:
            warnings.warn(f"{tested.name}: {what}.", UncheckedWarning, stacklevel=2)

    test.__module__ = next(iter(modules), "")
    test.plan = tested  # type: ignore[attr-defined]
    test.profile = profile  # type: ignore[attr-defined]
    test.__name__ = test.__qualname__ = f"determinism_test of {tested.name}"
    test.__doc__ = f"Schedules of {tested.name}."
    made: Any = test
    found: DeterminismTest = made
    return found
