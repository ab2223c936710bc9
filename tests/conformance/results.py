"""Outcomes of tests: rows that the plug-in wrote, and what they say together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HUNG = "hung"
"""Began, and its process had to be killed."""
LEDGER_ANCHOR = re.compile(r"differences\.md#([\w-]+)")


@dataclass(frozen=True, slots=True)
class Result:
    """One test of one run."""

    id: str
    outcome: str
    seconds: float
    why: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    @property
    def reason(self) -> str:
        """What went wrong, in few words."""
        where, _, what = self.why.replace("\n", " ").partition(": ")
        return f"{what[:400]} ({where})" if what else where

    @property
    def ledger_entry(self) -> str | None:
        """The entry of the ledger that the error named."""
        found = LEDGER_ANCHOR.search(self.why)
        return found.group(1) if found else None


@dataclass(frozen=True, slots=True)
class Rows:
    """What one process of the suite has written."""

    results: dict[str, Result]
    unfinished: str | None
    """The test that began last and has no outcome."""
    close: str | None
    """Why the engine did not close; empty when it did, None when it was never asked to."""


def read_rows(path: Path) -> Rows:
    """Read them; a last line that was cut off is left out."""
    results: dict[str, Result] = {}
    begun: str | None = None
    close: str | None = None
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "begun" in row:
            begun = row["begun"]
        elif "close" in row:
            close = row["why"]
        else:
            results[row["id"]] = Result(row["id"], row["outcome"], row["seconds"], row.get("why", ""))
    return Rows(results, begun if begun is not None and begun not in results else None, close)


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run, as it is kept on disk."""

    mode: str
    temporalio: str
    results: Mapping[str, Result]
    close_failures: tuple[str, ...] = ()
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "mode": self.mode,
            "temporalio": self.temporalio,
            "seconds": round(self.seconds, 1),
            "close_failures": list(self.close_failures),
            "results": [asdict(result) for result in self.results.values()],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        document = json.loads(path.read_text())
        return cls(
            mode=document["mode"],
            temporalio=document["temporalio"],
            results={row["id"]: Result(**row) for row in document["results"]},
            close_failures=tuple(document["close_failures"]),
            seconds=document["seconds"],
        )


def steady(runs: Iterable[Run], times: int = 3) -> set[str]:
    """Ids that passed each of the last ``times`` times that they ran, in runs given from old to new."""
    outcomes: dict[str, list[bool]] = {}
    for run in runs:
        for result in run.results.values():
            outcomes.setdefault(result.id, []).append(result.passed)
    return {test for test, passed in outcomes.items() if len(passed) >= times and all(passed[-times:])}


def kept_runs(folder: Path) -> list[Run]:
    """All runs kept in a folder, from old to new (their names are dates)."""
    return [Run.load(path) for path in sorted(folder.glob("*.json"))]


def newest(runs: Sequence[Run]) -> Run:
    """One run of the newest outcome of each test, out of runs from old to new."""
    results = {test: result for run in runs for test, result in run.results.items()}
    return Run(
        runs[-1].mode, runs[-1].temporalio, results, runs[-1].close_failures, sum(r.seconds for r in results.values())
    )


def regressions(run: Run, promised: Iterable[str], asked: Iterable[str]) -> list[Result]:
    """Tests of the pass-list that were asked for and did not pass."""
    wanted = set(asked)
    outcomes = (run.results.get(test) or Result(test, "not run", 0.0) for test in promised if test in wanted)
    return [result for result in outcomes if not result.passed]
