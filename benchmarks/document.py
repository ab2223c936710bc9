"""The file ``results/latest.json``: one section per part, each with its own machine, date and command."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.environments import PLOT_REQUIREMENTS, ROOT, environment

RESULTS = Path(__file__).with_name("results")
LATEST = RESULTS / "latest.json"
PLOT_NAME = "throughput.svg"


def load() -> dict[str, Any]:
    """The document of the last run; empty when there was none."""
    if not LATEST.exists():
        return {}
    document: dict[str, Any] = json.loads(LATEST.read_text())
    return document


def save(document: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(document, indent=2) + "\n")


def plot(document: dict[str, Any], progress: Console) -> None:
    """Draw the throughput section, in the environment that has matplotlib."""
    if not document["throughput"]["results"]["summaries"]:
        return
    drawing = asyncio.run(environment(PLOT_REQUIREMENTS, progress=lambda text: progress.print(f"[dim]{text}[/]")))
    subprocess.run(
        [drawing.python, "-m", "benchmarks.plot", LATEST, LATEST.with_name(PLOT_NAME)],
        check=True,
        cwd=ROOT,
        env=drawing.variables(),
    )
