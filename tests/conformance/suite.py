"""The tests of the SDK that count, by area and group: ``data/suite.tsv``.

Every id in it passes against Temporal's development server. The group says what a failure here would mean:

=============  =======================================================================================================
core           must pass
S1 … S8        a feature of the server; counts as failed as long as it is missing
H1 … H5        tests the Rust core or a server of its own; not counted
no engine      passes with no server at all; not counted
=============  =======================================================================================================
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SDK_VERSION = "1.31.0"
"""The tag that the ids are of, and the release of temporalio that they run with."""

DATA = Path(__file__).parent / "data"

FEATURES = {
    "S1": "Nexus operations through endpoints",
    "S2": "standalone Nexus operations",
    "S3": "standalone activities",
    "S4": "worker deployments and build ids",
    "S5": "pause, unpause and reset",
    "S6": "schedules",
    "S7": "visibility and search attributes",
    "S8": "priority",
}

EXCUSES = {
    "H1": "starts the time-skipping test server and moves its clock",
    "H2": "starts a development server of its own",
    "H3": "reads metrics, logs or warnings that the Rust core emits",
    "H4": "slot suppliers and tuners, driven by the Rust core",
    "H5": "asserts on private fields of the SDK's bridge to the Rust core",
}

ALONE = frozenset({"tests/worker/test_workflow.py::test_workflow_eviction_deadlock"})
"""Needs a process of its own: after another test has interrupted a thread, CPython 3.11 cannot parse for a while. Fails
for the same reason on Temporal's server."""


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One test of the SDK."""

    id: str
    area: str
    group: str
    drifted: bool
    """Fails on the newest temporalio against Temporal's own server as well: the test is older than the release."""
    server_seconds: float
    """What it took against the development server, on two shared cores."""

    @property
    def file(self) -> str:
        return self.id.split("::")[0]

    @property
    def counts(self) -> bool:
        """Needs an engine, and ours cannot be excused from it."""
        return self.group == "core" or self.group in FEATURES


@lru_cache
def suite() -> tuple[SuiteTest, ...]:
    """All tests, in the suite's order."""
    with (DATA / "suite.tsv").open() as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple(
            SuiteTest(row["id"], row["area"], row["group"], bool(row["drift"]), float(row["seconds"])) for row in rows
        )


def chosen(tests: Iterable[SuiteTest], *, texts: Iterable[str] = (), groups: Iterable[str] = ()) -> list[SuiteTest]:
    """Those with one of the texts in their id, and of the groups; without groups, those that count."""
    texts, groups = list(texts), list(groups)
    return [
        test
        for test in tests
        if (test.counts if not groups else test.group in groups)
        and (not texts or any(text in test.id for text in texts))
    ]


def pass_list(mode: str) -> Path:
    """The file of the ids that pass in a mode."""
    return DATA / f"pass-{mode}.txt"


def read_ids(path: Path) -> list[str]:
    """Ids of a list, one a line; nothing if there is no such list."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
