"""Outcome: what came of one workflow class of the samples, as the process that explored it has told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.shadow.samples.kit.told import KNOWN


@dataclass(frozen=True, slots=True)
class Outcome:
    """See the module."""

    place: str
    """``file:Workflow``."""
    told: Mapping[str, Any]

    @property
    def _held(self) -> Mapping[str, Any]:
        """The exploration in which nothing broke, or should not have."""
        return self.told.get("without") or self.told if self.is_known else self.told

    @property
    def is_known(self) -> bool:
        """It breaks the rule that it is known to break."""
        known = KNOWN.get(self.place)
        return known is not None and self.told.get("rule") == known.rule.value

    @property
    def well(self) -> bool:
        """It holds; or it breaks as it is known to, and holds in a world without that. What is not tried is no failure."""
        return not self.was_tried or ((self.is_known or self.place not in KNOWN) and "schedules" in self._held)

    @property
    def was_tried(self) -> bool:
        return not str(self.told.get("failed", "")).startswith("ModuleNotFoundError")

    @property
    def verdict(self) -> str:
        if not self.was_tried:
            return "not tried"
        if not self.well:
            return "LOOK"
        return "breaks" if self.is_known else "holds"

    @property
    def schedules(self) -> int:
        return int(self._held.get("schedules", 0))

    @property
    def tasks(self) -> int:
        return int(self._held.get("tasks", 0))

    @property
    def remark(self) -> str:
        if not self.was_tried:
            return f"needs {str(self.told['failed']).partition('No module named ')[2].strip(chr(39))}"
        if self.well:
            return KNOWN[self.place].why if self.is_known else "; ".join(self._held["unchecked"])
        if self.place in KNOWN and "rule" not in self.told:
            return "is known to break a rule, and does not: strike it off"
        return str(self._held.get("failed") or f"{self._held.get('rule')}: {self._held.get('what')}")


def outcomes_of(file: str, answers: str) -> list[Outcome]:
    """The outcomes of a file's workflows; one for the file, when it cannot be imported."""
    found = []
    for line in answers.splitlines():
        told = json.loads(line)
        found.append(Outcome(f"{file}:{told['workflow']}" if "workflow" in told else file, told))
    return found
