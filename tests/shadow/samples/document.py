"""docs/shadow-corpus.md: the generated part, between two markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.shadow.samples.__main__ import Outcome

BEGIN = "<!-- results: written by `python -m tests.shadow.samples --write-docs`, not by hand -->"
END = "<!-- end of results -->"


def write(document: Path, outcomes: Sequence[Outcome], left_out: Mapping[str, str], revision: str) -> None:
    """Put the results between the markers.

    Raises:
        ValueError: the document has no such markers.
    """
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for results: {BEGIN} … {END}")
    document.write_text(f"{before}{BEGIN}\n\n{render(outcomes, left_out, revision)}\n{END}{after}")


def render(outcomes: Sequence[Outcome], left_out: Mapping[str, str], revision: str) -> str:
    """The tables as Markdown."""
    everything = [run for outcome in outcomes for run in outcome.judged]
    same = sum(run["verdict"] == "match" for run in everything)
    lines = [
        f"Samples at `{revision[:12]}`, temporalio {version('temporalio')}: **{len(everything)} histories of "
        f"{len({run['shape'] for run in everything})} shapes, {same} the same**, "
        f"{sum(run['verdict'] == 'mismatch' for run in everything)} different, "
        f"{sum(run['verdict'] not in ('match', 'mismatch') for run in everything)} without an answer.",
        "",
        "| Sample | Histories | Events | Same | Remark |",
        "|---|---:|---:|---:|---|",
    ]
    for outcome in outcomes:
        events = sum(run["events"] for run in outcome.judged)
        told = {f"{run['type']}: {run['reason']} {run['told']}" for run in outcome.judged if run["verdict"] != "match"}
        remark = outcome.not_run.splitlines()[-1:] or sorted(told) or [outcome.play.note]
        lines.append(
            f"| {outcome.play.name} | {len(outcome.judged)} | {events} | {outcome.count('match')} | {'; '.join(remark)} |"
        )
    lines += ["", "Not run:", ""]
    lines += [f"* {names}: {why}" for names, why in left_out.items()]
    return "\n".join(lines) + "\n"
