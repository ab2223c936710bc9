"""Tests that cannot pass in one of the modes, or only by luck, each with its reason: ``data/expected.toml``.

What no mode can pass is in the ledger of differences. This list is about what a mode does to a test that passes plainly:
a test that counts calls counts those of a replay too. Who is on the list and passes after all is to be taken off it,
unless luck was named.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass

from tests.conformance.results import Result, Run
from tests.conformance.suite import DATA, SuiteTest

EXPECTED = DATA / "expected.toml"


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why a test does not pass in a mode."""

    reason: str
    sometimes: bool
    """It may pass as well."""


def excuses(mode: str) -> dict[str, Excuse]:
    """The tests that are excused in a mode, by id."""
    found: dict[str, Excuse] = {}
    for entry in tomllib.loads(EXPECTED.read_text()).get(mode, []):
        for test in entry["tests"]:
            if test in found:
                raise ValueError(f"{EXPECTED.name} has {test} twice in {mode}")
            found[test] = Excuse(entry["reason"], entry.get("sometimes", False))
    return found


def stale(tests: Iterable[SuiteTest], run: Run) -> list[Result]:
    """What passed although the list says that it cannot."""
    excused = excuses(run.mode)
    results = (run.results.get(test.id) for test in tests if test.id in excused and not excused[test.id].sometimes)
    return [result for result in results if result is not None and result.passed]
