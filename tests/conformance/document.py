"""docs/conformance.md: the generated part, between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.conformance.ledger import entry_for
from tests.conformance.report import markdown_table
from tests.conformance.results import Run
from tests.conformance.suite import SuiteTest

BEGIN = "<!-- results: written by `python -m tests.conformance --write-docs`, not by hand -->"
END = "<!-- end of results -->"


def write(document: Path, tests: Sequence[SuiteTest], run: Run) -> None:
    """Put the run's results between the markers.

    Raises:
        ValueError: the document has no such markers.
    """
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for results: {BEGIN} … {END}")
    document.write_text(f"{before}{BEGIN}\n\n{render(tests, run)}\n{END}{after}")


def render(tests: Sequence[SuiteTest], run: Run) -> str:
    """The tables as Markdown."""
    parts = ["### By area", "\n".join(markdown_table(tests, run)), "### What does not pass, and why"]
    reasons: dict[str, list[str]] = {}
    nobody: list[str] = []
    for test in tests:
        result = run.results.get(test.id)
        if not test.counts or (result is not None and result.passed):
            continue
        entry = entry_for(test, result)
        if entry is None:
            nobody.append(test.id)
        else:
            reasons.setdefault(f"[{entry.feature}](../{entry.anchor})", []).append(test.id)
    rows = [f"| {reason} | {len(ids)} |" for reason, ids in sorted(reasons.items(), key=lambda item: -len(item[1]))]
    parts.append("\n".join(["| Entry of the ledger | Tests |", "| --- | ---: |", *rows]))
    if nobody:
        parts.append("Without an entry:\n\n" + "\n".join(f"- `{test}`" for test in nobody))
    return "\n\n".join(parts) + "\n"
