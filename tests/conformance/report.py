"""Tables of a run: by area, for the terminal and for docs/conformance.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from tests.conformance.expected import excuses
from tests.conformance.ledger import entry_for
from tests.conformance.results import Run
from tests.conformance.suite import SuiteTest


@dataclass(slots=True)
class Line:
    """One line of the table."""

    name: str
    tests: int = 0
    passed: int = 0
    refused: int = 0
    """Failed, and an entry of the ledger says why, or the list of the mode."""
    seconds: float = 0.0
    server_seconds: float = 0.0

    def add(self, test: SuiteTest, run: Run) -> None:
        result = run.results.get(test.id)
        self.tests += 1
        self.server_seconds += test.server_seconds
        passed = result is not None and result.passed
        self.passed += passed
        self.refused += not passed and (entry_for(test, result) is not None or test.id in excuses(run.mode))
        self.seconds += result.seconds if result is not None else 0

    @property
    def failed(self) -> int:
        return self.tests - self.passed - self.refused

    @property
    def share(self) -> str:
        return f"{100 * self.passed / self.tests:.1f} %" if self.tests else ""

    def cells(self) -> list[str]:
        return [
            self.name,
            str(self.tests),
            str(self.passed),
            self.share,
            str(self.refused or ""),
            str(self.failed or ""),
            f"{self.seconds:.0f}",
            f"{self.server_seconds:.0f}",
        ]


HEAD = ("area", "tests", "passed", "", "accounted for", "failed", "s", "server s")

SUMS: tuple[tuple[str, frozenset[str]], ...] = (
    ("core", frozenset({"core"})),
    ("operators: pause, reset, schedules, visibility", frozenset({"S5", "S6", "S7"})),
    ("Nexus, standalone activities, deployments, priority", frozenset({"S1", "S2", "S3", "S4", "S8"})),
)


def lines(tests: Iterable[SuiteTest], run: Run) -> tuple[list[Line], list[Line]]:
    """The lines of the areas, and the sums below them."""
    tests = [test for test in tests if test.counts]
    areas: dict[str, Line] = {}
    for test in tests:
        areas.setdefault(test.area, Line(test.area)).add(test, run)
    sums = []
    for name, groups in SUMS:
        line = Line(name)
        for test in tests:
            if test.group in groups:
                line.add(test, run)
        sums.append(line)
    everything = Line("all that need an engine")
    for test in tests:
        everything.add(test, run)
    return sorted(areas.values(), key=lambda line: line.name), [*(s for s in sums if s.tests), everything]


def terminal_table(tests: Iterable[SuiteTest], run: Run) -> Table:
    """For a person at a terminal."""
    table = Table(title=f"temporalio {run.temporalio}, {run.mode}", title_justify="left")
    for number, title in enumerate(HEAD):
        table.add_column(title, justify="left" if number == 0 else "right")
    areas, sums = lines(tests, run)
    for line in areas:
        style = "green" if line.passed == line.tests else "yellow" if not line.failed else None
        table.add_row(*line.cells(), style=style)
    table.add_section()
    for line in sums:
        table.add_row(*line.cells(), style="bold")
    return table


def markdown_table(tests: Iterable[SuiteTest], run: Run, *, whole: bool = True) -> list[str]:
    """The same for a document; if not ``whole``, without the areas that pass."""
    areas, sums = lines(tests, run)
    areas = [line for line in areas if whole or line.passed < line.tests]

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    head = [row(HEAD), row(["---", *["---:"] * (len(HEAD) - 1)])]
    bold = [[f"**{cell}**" if cell else "" for cell in line.cells()] for line in sums]
    return [*head, *(row(line.cells()) for line in areas), *map(row, bold)]
