"""The generated part of README.md: the tables of the last run, with machine, date and command."""

from pathlib import Path
from typing import Any

from benchmarks.report import Grid, grids

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- results: written by `python -m benchmarks --write-readme`, not by hand -->"
END = "<!-- end of results -->"
TITLES = {
    "throughput": "Side by side",
    "sleepers": "Sleepers",
    "idle": "Idle",
    "operations": "Operations",
    "mirror": "Mirror",
    "shadow": "Replays of the shadow",
    "determinism": "Determinism kit",
}


def write_readme(document: dict[str, Any], plots: list[str]) -> None:
    """Put this document's tables between the markers; add the markers at the end where there are none."""
    text = README.read_text()
    if BEGIN in text:
        before, rest = text.split(BEGIN, 1)
        after = rest.split(END, 1)[1]
    else:
        before, after = text.rstrip() + "\n\n", "\n"
    README.write_text(before + BEGIN + "\n\n" + render(document, plots) + "\n" + END + after)


def render(document: dict[str, Any], plots: list[str]) -> str:
    """The section as Markdown."""
    parts = ["## Results"]
    for section, title in TITLES.items():
        if section not in document:
            continue
        parts += [f"### {title}", facts(document[section]["run"])]
        if section == "throughput":
            parts += [f"![{Path(plot).stem.replace('-', ' ')}]({plot})" for plot in plots]
            parts.append(contenders(document[section]["results"]))
        parts += [table(grid) for grid in grids({section: document[section]})]
    return "\n\n".join(parts) + "\n"


def facts(run: dict[str, Any]) -> str:
    machine = run["machine"]
    return (
        f"{run['date']} · {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['filesystem']} · {machine['system']} · Python {machine['python']} · "
        f"load at the start {machine['load_at_start']}\n\n```\n{run['command']}\n```"
    )


def contenders(results: dict[str, Any]) -> str:
    """Where each contender ran, and in which versions."""
    lines = []
    for name, server in results["servers"].items():
        versions = ", ".join(f"{package} {version}" for package, version in results["versions"].get(name, {}).items())
        version = f" {server['server_version']}" if "server_version" in server else ""
        lines.append(f"- `{name}`: {server['label']}{version}" + (f"; {versions}" if versions else ""))
    return "\n".join(lines)


def table(grid: Grid) -> str:
    """One grid as a Markdown table under its title."""
    rule = ["---" if index < grid.left else "---:" for index in range(len(grid.columns))]
    rows = [grid.columns, rule, *grid.rows]
    return (
        f"**{grid.title}**\n\n"
        + "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)
        + (f"\n\n{grid.note}" if grid.note else "")
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
