"""The report as one page that needs nothing else: no network, no file beside it.

The template and its style stand in ``templates``. Everything is escaped by Jinja, and the page forbids itself to load
anything. It holds sums, exemplars and a few runs, never a row for each run: its size does not grow with them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import zip_longest

try:
    import jinja2
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Reports need jinja2. Install it with: pip install 'dbos-compat[shadow]'", name="jinja2"
    ) from error

from dbos_shadow.difference import Kind, Level
from dbos_shadow.report.charts import histogram, parts, trend_lines
from dbos_shadow.report.explain import HASH_SEED, LEVELS
from dbos_shadow.report.figures import percent, short_ms
from dbos_shadow.report.model import NOISE, Report, Row
from dbos_shadow.report.rule import Decision
from dbos_shadow.report.scrub import Shown
from dbos_shadow.report.words import bound, by_reason, repeated, taken_over, teaser

__all__ = ["render_html"]

OPEN_GROUPS = 1
"""How many differences are unfolded at the beginning."""
FOLD_TYPES = 12
"""More types that are a go than that are folded, if there are others."""


def render_html(report: Report) -> str:
    """The page as text."""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            reasons=by_reason(report),
            hash_seed=HASH_SEED,
            noise=[same for same in by_reason(report) if same[0].reason in NOISE],
            teaser=teaser(report),
            taken_over=taken_over(report),
            repeated=repeated(report),
            fold_types=FOLD_TYPES,
            leading=[found for found in report.groups if found.first_in],
            following=[found for found in report.groups if not found.first_in],
            charts=[
                (title, of, histogram(of))
                for title, of in (
                    ("Steps of a run", report.steps),
                    ("Events of a history", report.events),
                    ("From start to end on Temporal", report.duration),
                )
                if of is not None
            ],
            open_groups=OPEN_GROUPS,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dbos_shadow.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        n="{:,}".format,
        percent=percent,
        short_ms=short_ms,
        words=lambda text: str(text).replace("_", " "),
        unlike=_unlike,
    )
    environment.globals.update(
        Decision=Decision,
        Kind=Kind,
        LEVELS=LEVELS,
        Level=Level,
        bound=bound,
        parts=parts,
        trend_lines=trend_lines,
    )
    return environment


def _unlike(row: Row) -> list[tuple[Shown | None, Shown | None, bool]]:
    """The inputs of two steps, or the values of two outcomes, side by side, and whether they differ."""
    mine = (row.expected.inputs if row.expected else row.expected_values) or ()
    theirs = (row.actual.inputs if row.actual else row.actual_values) or ()
    one_sided = row.part == "step" and (row.expected is None or row.actual is None)
    pairs = zip_longest(mine, theirs)
    return [(before, after, not one_sided and before != after) for before, after in pairs]
