"""The report as data: what every renderer reads, and what others read as JSON. Published in ``docs/schemas``.

Nothing in it depends on a clock or on the order in which runs were judged, so that two reports of the same input, with the
same key, are equal byte by byte. Everything in it may be read by whoever may read the names of workflows: values are
``Shown`` (``scrub``).
"""

from __future__ import annotations

import json
from typing import Any, Literal

try:
    from pydantic import BaseModel, ConfigDict
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Reports need pydantic. Install it with: pip install 'dbos-compat[shadow]'", name="pydantic"
    ) from error

from dbos_shadow.difference import Kind, Level
from dbos_shadow.report.rule import Decision, Rule
from dbos_shadow.report.scrub import Shown
from dbos_shadow.verdict import Reason, Verdict

__all__ = [
    "AcceptedDifference",
    "Bucket",
    "Campaign",
    "Change",
    "Counts",
    "DifferenceShown",
    "Distribution",
    "ExemplarShown",
    "Feature",
    "GroupReport",
    "Mask",
    "NOISE",
    "Noise",
    "Part",
    "Report",
    "Row",
    "RunLine",
    "Shape",
    "Source",
    "StepShown",
    "StratumShown",
    "Trend",
    "TrendPoint",
    "TypeReport",
    "UncheckedPath",
    "Undecided",
    "Versions",
    "Window",
    "from_json",
    "schema",
    "schema_text",
    "to_json",
]

FORMAT = "dbos-compat/shadow-report"
VERSION = 1

NOISE = frozenset({Reason.NONDETERMINISTIC, Reason.BASELINE})
"""What is the workflows' own doing, and not the engines'."""


class Part(BaseModel):
    """Of a report: frozen, and nothing in it that is not told here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


# -- how it was made -----------------------------------------------------------------------------------------------------


class Versions(Part):
    """What was compared with what."""

    temporalio: str = ""
    dbos_compat: str = ""
    python: str = ""


class Window(Part):
    """Which runs were asked for by time, ISO 8601; empty: not limited."""

    start: str = ""
    end: str = ""


class Campaign(Part):
    """What the report is about, as whoever made it says."""

    title: str = "Shadow report"
    label: str = ""
    """Names this report in a trend: a day, a commit."""
    made_at: str = ""
    """ISO 8601, if the maker wants it to be there."""
    selection: str = ""
    """What was asked for, in words or as a list query."""
    window: Window = Window()
    selected: int | None = None
    """How many runs the selection has found; None: nobody counted."""
    scouted: int = 0
    """Histories that were read beside the sample, so that rare shapes are found; those of a rare shape were judged too."""
    taken_over: int = 0
    """Runs that an earlier session has judged with the same code, options and histories, and that were not judged again."""
    repeated: int = 0
    """Histories that were found once more, in another file: each is judged and counted once."""
    repeated_ids: tuple[str, ...] = ()
    """Workflow ids of them, the first few."""
    sample: str = ""
    """How runs were drawn from the selection: rate, seed, maximum."""
    config_hash: str = ""
    """Of all that decides what is compared with what; reports with different ones cannot be compared."""
    versions: Versions = Versions()
    values_shown: tuple[str, ...] = ()
    """Globs of the paths whose values are shown."""
    ids_hashed: bool = False


# -- counts --------------------------------------------------------------------------------------------------------------


class Counts(Part):
    """Runs by verdict."""

    match: int = 0
    accepted: int = 0
    mismatch: int = 0
    inconclusive: int = 0
    not_run: int = 0

    @property
    def total(self) -> int:
        return self.match + self.accepted + self.mismatch + self.inconclusive + self.not_run

    @property
    def same(self) -> int:
        return self.match + self.accepted

    @property
    def compared(self) -> int:
        return self.same + self.mismatch

    @property
    def without_answer(self) -> int:
        return self.inconclusive + self.not_run


class Bucket(Part):
    low: int
    high: int
    """The lowest number of the next bucket."""
    count: int


class Distribution(Part):
    """How a number is distributed. Quantiles are at most an eighth too high."""

    unit: str
    count: int
    lowest: int
    median: int
    p90: int
    p99: int
    highest: int
    total: int
    buckets: tuple[Bucket, ...]


class Shape(Part):
    """Runs that did the same kinds of things in the same order."""

    shape: str
    runs: int
    compared: int
    mismatches: int


class StratumShown(Part):
    """One kind of runs as far as it can be told before a history is read, and how far it was looked at."""

    workflow_type: str
    name: str
    seen: int
    """Runs that the selection wanted."""
    chosen: int
    """Of them, those that were sampled."""
    judged: int
    """Of them, those with a verdict: match, mismatch or accepted."""


class Feature(Part):
    """What of Temporal runs have used."""

    name: str
    runs: int
    compared: int
    mismatches: int


class Source(Part):
    """Where a workflow type is defined, for tools that annotate code."""

    uri: str
    line: int = 1


class TypeReport(Part):
    """One workflow type."""

    workflow_type: str
    decision: Decision
    rule: str
    """Which rule has decided: mismatches, nothing_compared, unmet, undecided_share, sample_floor, clean."""
    why: str
    counts: Counts
    reasons: dict[str, int]
    """Runs without an answer, by reason."""
    ways: dict[str, int]
    """Runs by the way in which the core's trace was made."""
    differ_at_most: float | None
    """No run differs; then of all such runs at most this share does, with 95 % confidence, if the sample was drawn at
    random."""
    shapes_seen: int
    shapes_compared: int
    shapes_once: int
    """Shapes with a single run: the more there are, the more there may be that nobody has seen."""
    unseen_share: float | None
    """How likely the next run has a shape that was not compared yet, by Good and Turing's estimate: the share of runs whose
    shape was met once. It holds for random samples. None: too few were compared to say so."""
    shapes: tuple[Shape, ...]
    """Those that were not compared first, then the frequent ones; a few."""
    features: tuple[str, ...]
    groups: int
    """Groups of differences of this type."""
    steps: Distribution | None
    duration: Distribution | None
    """From start to end as it was recorded, of closed runs."""
    source: Source | None = None


# -- differences ---------------------------------------------------------------------------------------------------------


class DifferenceShown(Part):
    """One difference of an exemplar."""

    level: Level
    kind: Kind
    path: str
    step: int | None
    actual_step: int | None
    expected: Shown | None
    actual: Shown | None
    here: bool
    """Is it the group's?"""


class StepShown(Part):
    """A step in a list of two columns."""

    index: int
    activation: int
    kind: str
    name: str
    id: str
    inputs: tuple[Shown, ...] | None
    """None: this source does not record them."""
    duration_ms: int | None


class Row(Part):
    """Two steps side by side; None: this side has none there."""

    part: Literal["start", "step", "message", "outcome"]
    label: str
    expected: StepShown | None = None
    actual: StepShown | None = None
    expected_text: str = ""
    """Of what is not a step."""
    actual_text: str = ""
    expected_values: tuple[Shown, ...] = ()
    """Of the start its inputs, of an outcome its values."""
    actual_values: tuple[Shown, ...] = ()
    differs: bool = False
    here: bool = False
    """Does the group's difference stand here?"""
    first: bool = False
    """Is it the run's first divergence?"""
    left_out: int = 0
    """How many equal rows before this one are not shown."""


class ExemplarShown(Part):
    """The smallest run that shows a difference."""

    workflow_id: str
    run_id: str
    steps: int
    differences: int
    shown: tuple[DifferenceShown, ...]
    """The group's first, then the others in order; a few."""
    rows: tuple[Row, ...]
    """Empty where the traces were not at hand."""
    rows_left_out: int
    """Equal rows behind the last one."""
    command: str
    """Shows it again, offline."""


class GroupReport(Part):
    """The same difference in many runs."""

    fingerprint: str
    workflow_type: str
    level: Level
    kind: Kind
    pattern: str
    title: str
    runs: int
    occurrences: int
    first_in: int
    """In so many runs it is the first divergence; 0: it always follows another difference, and may follow from it."""
    exemplar: ExemplarShown


class AcceptedDifference(Part):
    """A difference that a person has accepted. Type and pattern are empty where it has expired and no run has shown it."""

    fingerprint: str
    workflow_type: str
    pattern: str
    runs: int
    reason: str
    owner: str
    expires: str
    expired: bool


# -- what was not checked ------------------------------------------------------------------------------------------------


class Undecided(Part):
    """Runs without an answer, for one reason."""

    workflow_type: str
    verdict: Verdict
    reason: Reason | None
    subject: str
    runs: int
    meaning: str
    what_to_do: str
    note: Shown | None
    """Of the example."""
    workflow_id: str
    """The example's."""
    run_id: str


class UncheckedPath(Part):
    """A place that could not be compared, in runs that were."""

    workflow_type: str
    pattern: str
    reason: str
    meaning: str
    runs: int
    occurrences: int


class Noise(Part):
    """Runs that were compared with themselves: replayed twice on the core, and twice on Temporal's own replayer."""

    runs: int = 0
    unsteady: int = 0
    """Of them, those that differ from themselves in one place or more: their workflows are not deterministic."""
    refused: int = 0
    """Of them, those that Temporal's own replayer refuses with this code."""
    missing: int = 0
    """Of them, those about which Temporal's own replayer did not answer."""


class Mask(Part):
    """What is hidden before traces are compared, and how often it hid something."""

    name: str
    reason: str
    runs: int
    places: int


# -- one run, and many reports -------------------------------------------------------------------------------------------


class RunLine(Part):
    """One run."""

    workflow_type: str
    workflow_id: str
    run_id: str
    verdict: Verdict
    way: str
    reason: Reason | None
    subject: str
    note: Shown | None
    level: Level | None
    """Of its most serious difference."""
    fingerprints: tuple[str, ...]
    """Of its differences, sorted."""
    accepted: tuple[str, ...]
    unchecked: dict[str, int]
    """Places that could not be compared, by reason."""
    masked: dict[str, int]
    shape: str
    features: tuple[str, ...]
    steps: int
    events: int


class TrendPoint(Part):
    """What an earlier report said."""

    label: str
    decision: Decision
    counts: Counts
    groups: int


class Change(Part):
    """One thing that is otherwise than in the last report."""

    what: Literal["decision", "new_type", "gone_type", "new_group", "gone_group", "more_runs", "fewer_runs"]
    workflow_type: str
    fingerprint: str = ""
    before: str
    now: str
    worse: bool
    text: str


class Trend(Part):
    """This report against the one before."""

    comparable: bool
    """Were both made with one configuration?"""
    points: tuple[TrendPoint, ...]
    """The oldest first; the last one is this report."""
    changes: tuple[Change, ...]


class Report(Part):
    """What many runs say of a move."""

    format: Literal["dbos-compat/shadow-report"] = "dbos-compat/shadow-report"
    version: Literal[1] = 1
    decision: Decision
    exit_code: int
    """What the command exits with: 0 clean, 1 mismatches, 3 inconclusive or under the sample floor, 4 our own failure."""
    why: str
    campaign: Campaign
    rule: Rule
    counts: Counts
    types: tuple[TypeReport, ...]
    """No-go first, then cannot tell, then go; among equals those with more runs."""
    groups: tuple[GroupReport, ...]
    """First divergences first, then what always follows one; of each the most serious, then the most frequent."""
    groups_left_out: int
    accepted: tuple[AcceptedDifference, ...]
    undecided: tuple[Undecided, ...]
    unchecked: tuple[UncheckedPath, ...]
    masks: tuple[Mask, ...]
    noise: Noise = Noise()
    strata: tuple[StratumShown, ...]
    """Those that were looked at least first."""
    features: tuple[Feature, ...]
    features_unseen: tuple[str, ...]
    """Known, and used by no run: nothing is said of them."""
    steps: Distribution | None
    events: Distribution | None
    duration: Distribution | None
    """On Temporal. The core is told Temporal's times, so it has none of its own."""
    runs: tuple[RunLine, ...]
    """Runs that differ or have no answer; a few."""
    runs_left_out: int
    trend: Trend | None = None


def to_json(report: Report) -> str:
    """The report as JSON text that ends with a line break. Equal reports give equal text."""
    return report.model_dump_json(indent=1) + "\n"


def from_json(text: str | bytes) -> Report:
    """A report that ``to_json`` has written.

    Raises:
        pydantic.ValidationError: it is not a report, or one of another version.
    """
    return Report.model_validate_json(text)


def schema() -> dict[str, Any]:
    """The JSON schema of a report (draft 2020-12)."""
    found = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{FORMAT}/{VERSION}", **found}


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
