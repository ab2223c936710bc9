# matplotlib lives in an environment of its own, so a type checker that runs in the project's may not see it.
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
"""The plot: throughput and latency against workflows in flight, as an SVG for light and dark pages.

Runs in the environment that has matplotlib: ``python -m benchmarks.plot latest.json throughput.svg``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullFormatter

INK = "#7d8590"
"""Readable on white and on black alike, for viewers that ignore the style below."""

ADAPT = """<style>
@media (prefers-color-scheme: light) { text { fill: #1f2328 !important } }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 !important } }
</style>"""

LINES: dict[str, tuple[str, str, str]] = {
    "compat-unsandboxed": ("#1a9c5b", "o", "-"),
    "compat-sandboxed": ("#1a9c5b", "s", "--"),
    "dbos": ("#3b82f6", "D", "-"),
    "dbosify": ("#a855f7", "v", "-"),
    "temporal": ("#e8710a", "^", "-"),
    "temporal-durable": ("#e8710a", "<", "--"),
    "temporal-sandboxed": ("#e8710a", ">", ":"),
}
"""Colour, marker and dash of each contender: told apart without colour too. The floor counts commits, not workflows."""


def draw(document: dict[str, Any], target: Path) -> None:
    """Two panels on logarithmic axes, one line per contender with its medians."""
    results = document["throughput"]["results"]
    matplotlib.use("svg")
    pyplot.rcParams.update(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.facecolor": "none",
            "svg.hashsalt": "benchmarks",
        }
    )
    figure, (rate, latency) = pyplot.subplots(1, 2, figsize=(11, 4.6))
    for name, (colour, marker, dash) in LINES.items():
        points = sorted((s["inflight"], s) for s in results["summaries"] if s["contender"] == name)
        if not points:
            continue
        inflight = [at for at, _ in points]
        look = {"color": colour, "marker": marker, "linestyle": dash, "label": name, "linewidth": 2}
        rate.plot(inflight, [s["per_second"] for _, s in points], **look)
        latency.plot(inflight, [s["p50_ms"] for _, s in points], **look)
        latency.fill_between(
            inflight, [s["p50_ms"] for _, s in points], [s["p99_ms"] for _, s in points], color=colour, alpha=0.08
        )
    ticks = sorted({s["inflight"] for s in results["summaries"]})
    _dress(rate, "workflows per second", ticks)
    _dress(latency, "latency in ms: median, shaded to p99", ticks)
    handles, labels = rate.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels) or 1, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(target, transparent=True, metadata={"Date": None})
    text = target.read_text()
    head_end = text.index(">", text.index("<svg")) + 1
    target.write_text(text[:head_end] + "\n" + ADAPT + text[head_end:])


def _dress(axes: Any, title: str, ticks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("workflows in flight")
    axes.set_title(title, fontsize=11)
    axes.grid(visible=True, which="major", color=INK, alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
