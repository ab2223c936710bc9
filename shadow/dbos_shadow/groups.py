"""Differences of many runs → groups of the same one, each with the smallest run that shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference

__all__ = ["Exemplar", "Group", "Groups", "grouped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """A run, and in it the first place of a group's difference."""

    workflow_id: str
    run_id: str
    difference: Difference
    steps: int
    """How long the run is: the shortest one is the easiest to read."""
    differences: int
    """How many it has in all: one with nothing else wrong is the clearest."""

    @property
    def rank(self) -> tuple[int, int, tuple[int, int, str, str], str, str]:
        return (self.differences, self.steps, self.difference.place, self.workflow_id, self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All that has one fingerprint."""

    fingerprint: str
    runs: int
    occurrences: int
    exemplar: Exemplar

    @property
    def difference(self) -> Difference:
        return self.exemplar.difference


class Groups:
    """Groups in the making. It keeps one exemplar each, whatever the number of runs, and the order of runs is no matter."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def add(self, comparison: Comparison, *, workflow_id: str, run_id: str) -> list[Group]:
        """Take up what one run has shown; accepted differences are not problems, and not groups.

        Returns:
            The groups whose exemplar the run has become.
        """
        shown_best: list[Group] = []
        by_fingerprint: dict[str, list[Difference]] = {}
        for difference in comparison.differences:
            by_fingerprint.setdefault(difference.fingerprint, []).append(difference)
        for fingerprint, found in by_fingerprint.items():
            exemplar = Exemplar(
                workflow_id=workflow_id,
                run_id=run_id,
                difference=min(found, key=lambda difference: difference.place),
                steps=len(comparison.rows),
                differences=len(comparison.differences),
            )
            known = self._groups.get(fingerprint)
            best = known is None or exemplar.rank < known.exemplar.rank
            group = Group(
                fingerprint=fingerprint,
                runs=1 + (known.runs if known else 0),
                occurrences=len(found) + (known.occurrences if known else 0),
                exemplar=exemplar if best or known is None else known.exemplar,
            )
            self._groups[fingerprint] = group
            if best:
                shown_best.append(group)
        return shown_best

    def sorted(self) -> tuple[Group, ...]:
        """The most serious first, among equals the most frequent."""
        return tuple(sorted(self._groups.values(), key=_importance))


def _importance(group: Group) -> tuple[int, int, str]:
    return (group.difference.level.value, -group.runs, group.fingerprint)


def grouped(comparisons: Iterable[tuple[str, str, Comparison]]) -> tuple[Group, ...]:
    """The groups of all of (workflow id, run id, comparison)."""
    groups = Groups()
    for workflow_id, run_id, comparison in comparisons:
        groups.add(comparison, workflow_id=workflow_id, run_id=run_id)
    return groups.sorted()
