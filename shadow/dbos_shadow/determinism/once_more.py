"""Once more: what a schedule has to stand besides its own life. A second run, Temporal's Replayer, processes with other hash
seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dbos_shadow.determinism.clocks import START_MS
from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.decisions import Listed
from dbos_shadow.determinism.elsewhere import NOWHERE, Reference, run_elsewhere
from dbos_shadow.determinism.failure import DeterminismError, Rule
from dbos_shadow.determinism.happenings import Happening, Kind
from dbos_shadow.determinism.plan import Plan
from dbos_shadow.determinism.replayer import can_be_replayed, refused
from dbos_shadow.determinism.run import Lived, live
from dbos_shadow.determinism.schedule import WORKFLOW_ID, Limits
from dbos_shadow.determinism.silence import quiet
from dbos_shadow.determinism.straight import shown

HASH_SEEDS = (1, 2)
"""Those that are tried for one schedule, if nobody says others."""
SEEDS_MOST = 9
"""Those up to this one are tried to find two that differ."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One schedule, and whether it stands."""

    lived: Lived
    """With what is broken, if anything."""
    unchecked: tuple[str, ...] = ()
    """What could not be asserted, and why."""


def judge(
    tested: Plan,
    decisions: Sequence[int],
    *,
    reference: Reference | None,
    times: int = 2,
    hash_seeds: Sequence[int] = HASH_SEEDS,
    limits: Limits | None = None,
) -> Judged:
    """Live a schedule as an exploration does that looks for what is broken: it is all asserted here, too.

    Args:
        tested: what is tested.
        decisions: the schedule.
        reference: where another process finds the plan; without one no other hash seeds are tried.
        times: so often it is lived.
        hash_seeds: of processes that live it as well.
        limits: how long it may be.
    """
    limits = limits or Limits()
    crew = Crew(tested)
    try:
        with quiet():
            first = live(crew, Listed(decisions), limits=limits)
            if first.error is not None:
                return Judged(first)
            for _ in range(times - 1):
                again = twice(crew, first, limits, followed=True)
                if again.error is not None:
                    return Judged(again)
            try:
                accepted(crew, [first])
                if reference is not None:
                    for seed in hash_seeds:
                        same_elsewhere(crew, [first], reference, seed, limits)
            except DeterminismError as error:
                return Judged(replace(first, error=error))
            return Judged(first, (NOWHERE,) if hash_seeds and reference is None else ())
    finally:
        crew.close()


def twice(crew: Crew, first: Lived, limits: Limits, *, followed: bool = False) -> Lived:
    """The same schedule once more: the same must come of it."""
    again = live(crew, Listed(first.decisions), limits=limits, whole=False, followed=followed)
    if again.error is None and again.rows != first.rows and again.commands != first.commands:
        when = "in two runs of this schedule"
        return replace(again, error=_differs(crew, again, Rule.SAME_COMMANDS, when, first.commands))
    return again


def accepted(crew: Crew, lives: Sequence[Lived]) -> int:
    """Temporal's Replayer takes the histories of these schedules: so many.

    Raises:
        DeterminismError: it does not take one.
    """
    by_code: dict[bool, list[tuple[Lived, str]]] = {False: [], True: []}
    for lived in lives:
        new_code = any(happening.kind is Kind.NEW_CODE for happening in lived.happenings)
        by_code[new_code] += [(lived, history) for history in lived.histories if can_be_replayed(history)]
    for new_code, found in by_code.items():
        answer = refused(crew.plan, [history for _, history in found], WORKFLOW_ID, new_code=new_code)
        if answer is not None:
            lived, history = found[answer[0]]
            raise _broken(crew, lived, Rule.HISTORY, f"it says: {answer[1].splitlines()[0]}.", history=history)
    return sum(map(len, by_code.values()))


def same_elsewhere(crew: Crew, here: Sequence[Lived], reference: Reference, hash_seed: int, limits: Limits) -> int:
    """A process with that hash seed asks for the same in these schedules: so many.

    Raises:
        DeterminismError: it does not, in one of them.
    """
    there = run_elsewhere(reference, [lived.decisions for lived in here], hash_seed, limits.actions)
    for lived, others in zip(here, there, strict=True):
        if lived.error is not None:
            raise lived.error
        if list(lived.commands) != others:
            error = _differs(crew, lived, Rule.HASH_SEED, "here and in a process with another hash seed", others)
            error.hash_seeds = (hash_seed, *_other_than(hash_seed, others, reference, lived.decisions, limits))
            raise error
    return len(there)


def _other_than(
    hash_seed: int, asked: list[str], reference: Reference, decisions: Sequence[int], limits: Limits
) -> Iterator[int]:
    """A hash seed with which something else is asked for than with this one: of any process differs one of the two."""
    for seed in range(1, SEEDS_MOST + 1):
        if seed != hash_seed and run_elsewhere(reference, [decisions], seed, limits.actions) != [asked]:
            yield seed
            return


def _differs(crew: Crew, lived: Lived, rule: Rule, when: str, others: Sequence[str]) -> DeterminismError:
    pairs = enumerate(zip(lived.commands, others, strict=False), 1)
    task, (one, other) = next(((i, p) for i, p in pairs if p[0] != p[1]), (0, ("[]", "[]")))
    if not task:
        what = f"{when} there are {len(lived.commands)} tasks and {len(others)}."
    elif shown(one) == shown(other):
        what = f"{when} task {task} asks for {shown(one)} with different values."
    else:
        what = f"{when} task {task} asks for {shown(one)}, and for {shown(other)}."
    return _broken(crew, lived, rule, what, history=lived.histories[-1] if lived.histories else None)


def _broken(crew: Crew, lived: Lived, rule: Rule, what: str, *, history: str | None) -> DeterminismError:
    last = lived.happenings[-1].at_ms if lived.happenings else START_MS
    broken = Happening(kind=Kind.BROKEN, at_ms=last, text=f"{rule.value}: {what}")
    return DeterminismError(
        rule,
        what,
        workflow=crew.plan.name,
        decisions=lived.decisions,
        happenings=(*lived.happenings, broken),
        history=history,
    )
