"""Scouting: histories that are read beside the sample, so that rare shapes are covered as well. Pure.

What a run did is known only when its history was read; the list of a namespace has types, statuses and lengths. So a bounded
number of further histories is read, spread over the kinds of runs, and of these the ones are judged whose shape was not met
often enough yet. Which ones are read is sticky, as the sample is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Container, Iterator

from dbos_shadow.select import Candidate, Sample, Selection

__all__ = ["Scouts", "Shapes"]


class Scouts:
    """Which runs are read beside a sample.

    Memory: ``selection.scouts`` runs of every stratum.
    """

    def __init__(self, selection: Selection) -> None:
        self._most = selection.scouts if selection.floor else 0
        # Another seed: those that the sample takes first would be a waste here.
        every_kind = dataclasses.replace(
            selection, rate=0.0, floor=self._most, maximum=None, seed=~selection.seed, scouts=0
        )
        self._sample = Sample(every_kind)

    def offer(self, run: Candidate) -> None:
        """A run that is wanted. One whose shape is known already needs no scout: it has a stratum of its own."""
        if self._most and not run.shape:
            self._sample.offer(run)

    def beside(self, chosen: Container[tuple[str, str]]) -> Iterator[Candidate]:
        """As many as may be read: the first of each stratum, the second of each, and so on.

        Args:
            chosen: (workflow id, run id) of what is in the sample.
        """
        left = self._most
        for run in self._sample.in_turn():
            if left == 0:
                return
            if (run.workflow_id, run.run_id) not in chosen:
                left -= 1
                yield run


class Shapes:
    """How often each shape was met."""

    def __init__(self) -> None:
        self._met: Counter[tuple[str, str]] = Counter()

    def met(self, workflow_type: str, shape: str) -> None:
        """One more run of this shape is in; an empty shape is an unknown one."""
        if shape:
            self._met[workflow_type, shape] += 1

    def is_rare(self, workflow_type: str, shape: str, floor: int) -> bool:
        """Are there less than so many runs of it?"""
        return self._met[workflow_type, shape] < floor
