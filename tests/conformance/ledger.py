"""Why a test of the SDK does not pass: the ledger of differences says so, or nobody does.

An entry of the ledger names what it keeps from passing: a group of the suite (``S1``, ``H4``) or the beginning of ids.
The groups that are not counted at all (``H…``) need such an entry too: what our design removes is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable

from dbos_compat.differences import LEDGER, Difference
from tests.conformance.expected import excuses
from tests.conformance.results import Result, Run
from tests.conformance.suite import SuiteTest


def entry_for(test: SuiteTest, result: Result | None = None) -> Difference | None:
    """The entry that accounts for a failure: by what it names, else by what the error named."""
    for entry in LEDGER.values():
        if any(named == test.group or test.id.startswith(named) for named in entry.conformance):
            return entry
    slug = result.ledger_entry if result is not None else None
    return LEDGER.get(slug) if slug is not None else None


def unexplained(tests: Iterable[SuiteTest], run: Run) -> list[Result]:
    """Failures that neither an entry of the ledger nor the list of the mode accounts for."""
    found = []
    excused = excuses(run.mode)
    for test in tests:
        result = run.results.get(test.id)
        if result is None or result.passed or test.id in excused:
            continue
        if entry_for(test, result) is None:
            found.append(result)
    return found
