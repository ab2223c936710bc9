"""docs/conformance.md: the generated part, between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.conformance.expected import excuses
from tests.conformance.ledger import entry_for
from tests.conformance.report import markdown_table
from tests.conformance.results import Run
from tests.conformance.suite import SuiteTest

END = "<!-- end of results -->"


def begin(mode: str) -> str:
    """The marker before the results of a mode."""
    return f"<!-- results ({mode}): written by `python -m tests.conformance --write-docs`, not by hand -->"


def write(document: Path, tests: Sequence[SuiteTest], run: Run) -> None:
    """Put the run's results between the markers.

    Raises:
        ValueError: the document has no such markers.
    """
    before, found, rest = document.read_text().partition(begin(run.mode))
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"{document} has no place for results: {begin(run.mode)} … {END}")
    document.write_text(f"{before}{found}\n\n{render(tests, run)}\n{END}{after}")


def render(tests: Sequence[SuiteTest], run: Run) -> str:
    """The tables as Markdown."""
    parts = [
        f"temporalio {run.temporalio}.",
        "\n".join(markdown_table(tests, run, whole=run.mode == "plain")),
        "What does not pass, and why:",
    ]
    reasons: dict[str, list[str]] = {}
    excused = excuses(run.mode)
    nobody: list[str] = []
    for test in tests:
        result = run.results.get(test.id)
        if not test.counts or (result is not None and result.passed):
            continue
        entry = entry_for(test, result)
        if test.id in excused:
            reasons.setdefault(excused[test.id].reason, []).append(test.id)
        elif entry is None:
            nobody.append(test.id)
        else:
            reasons.setdefault(f"[{entry.feature}](../{entry.anchor})", []).append(test.id)
    rows = [f"| {reason} | {len(ids)} |" for reason, ids in sorted(reasons.items(), key=lambda item: -len(item[1]))]
    parts.append("\n".join(["| Reason | Tests |", "| --- | ---: |", *rows]))
    if nobody:
        parts.append("Without an entry:\n\n" + "\n".join(f"- `{test}`" for test in nobody))
    return "\n\n".join(parts) + "\n"
