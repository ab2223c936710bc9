"""Judgements, one at a time and in any order → the report. It keeps sums, and one exemplar of each difference."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from dbos_shadow.allow import Accepted
from dbos_shadow.diff import Comparison
from dbos_shadow.difference import Difference, pattern
from dbos_shadow.groups import Group, Groups
from dbos_shadow.masks import FREE_RUN
from dbos_shadow.report.exemplar import Traces, exemplar_shown
from dbos_shadow.report.explain import REASONS, UNCHECKED, title
from dbos_shadow.report.histogram import Histogram
from dbos_shadow.report.model import (
    AcceptedDifference,
    Campaign,
    Counts,
    ExemplarShown,
    Feature,
    GroupReport,
    Mask,
    Noise,
    Report,
    RunLine,
    Shape,
    Source,
    StratumShown,
    TypeReport,
    UncheckedPath,
    Undecided,
)
from dbos_shadow.report.rule import Decision, Rule, at_most, exit_code, overall
from dbos_shadow.report.scrub import Scrubber
from dbos_shadow.report.sums import AcceptedSum, Few, TypeSum, UndecidedSum, distribution, unmet
from dbos_shadow.select import Stratum
from dbos_shadow.trace import StepKind, Trace
from dbos_shadow.verdict import Judgement, Reason, Verdict

__all__ = ["FEATURES", "ReportBuilder", "ReportConfig", "run_line"]

FEATURES = tuple(
    sorted(
        {kind.value for kind in StepKind} - {"marker", "update_accepted", "update_completed"}
        | {"signal", "update", "cancel", "retry", "parallel"}
        | {f"{kind} {how}" for kind in ("activity", "child") for how in ("failed", "timed_out", "canceled")}
        | {f"ended {status}" for status in ("failed", "canceled", "terminated", "timed_out", "continued_as_new")}
        | {"local_activity failed", "external_signaled failed"}
    )
)
"""What a run can use of Temporal, by the names that ``select.features_of`` gives, if nobody says otherwise."""

COMMAND = (
    "dbos-compat shadow export shadow-run --id {workflow_id} --run-id {run_id} && "
    "dbos-compat shadow replay shadow-run -w MODULE --id {workflow_id} --run-id {run_id}"
)

LEFT_OUT = frozenset({Reason.EXCLUDED, Reason.STILL_RUNNING, Reason.NO_TASK})
"""Reasons for which nobody meant to compare a run: they do not weigh in a decision."""

UNMET = frozenset({Reason.UNSUPPORTED, Reason.NO_STUB})
"""Reasons that say something of the code, and not of one run: however few such runs there are, more would come."""

NO_TYPE = "(unknown type)"
"""Of a record that does not say of which workflow it is."""
SHAPES_MAX = 12
UNSEEN_FLOOR = 10
"""An estimate from fewer runs is none."""

_MASKS = {mask.name: mask.about for mask in FREE_RUN}


def _random_key() -> bytes:
    return secrets.token_bytes(32)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """How a report is made."""

    campaign: Campaign = field(default_factory=Campaign)
    rule: Rule = field(default_factory=Rule)
    key: bytes = field(default_factory=_random_key, repr=False)
    """Of the hashes that stand for values, at least 16 bytes. Give one to get the same hashes twice."""
    values: tuple[str, ...] = ()
    """Globs of paths whose values are shown, such as ``activity charge: inputs[0].cents``."""
    ids: bool = True
    """Show workflow ids and run ids; else they are hashed too."""
    notes: bool = False
    """Show what judgements say in words; they may quote values."""
    command: str = COMMAND
    """Shows an exemplar again; ``{workflow_id}``, ``{run_id}`` and ``{workflow_type}`` are filled in, quoted."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """Every mask that was on, and why. One that hid nothing is listed as well."""
    features: tuple[str, ...] = FEATURES
    """All that a run could have used."""
    types: tuple[str, ...] = ()
    """Workflow types that were asked for. One without a run is listed, and is no go."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Where workflow types are defined."""
    expired: tuple[Accepted, ...] = ()
    """Accepted differences whose day is over, met or not (``allowances.expired``). One is enough for a no-go."""
    strata: tuple[Stratum, ...] = ()
    """What the selection has seen, chosen and judged (``tuple(campaign.strata)``)."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """By workflow type: runs that were read beside the sample and not judged, since their shapes were compared already."""
    groups_max: int = 200
    runs_max: int = 100


class ReportBuilder:
    """A report in the making. Memory grows with types, shapes and differences, not with runs."""

    def __init__(self, config: ReportConfig | None = None, *, scrub: Scrubber | None = None) -> None:
        """``scrub`` is for judgements that come scrubbed already, from where they were kept."""
        self.config = config or ReportConfig()
        self._scrub = scrub or scrubber(self.config)
        self._types: dict[str, TypeSum] = {name: TypeSum() for name in self.config.types}
        self._groups = Groups()
        self._exemplars: dict[str, ExemplarShown] = {}
        self._first: Counter[str] = Counter()
        self._accepted: dict[str, AcceptedSum] = {}
        self._undecided: dict[tuple[str, Verdict, Reason | None, str], UndecidedSum] = {}
        self._unchecked: dict[tuple[str, str, str], list[int]] = {}
        self._masks: dict[str, list[int]] = {name: [0, 0] for name in self.config.masks}
        self._noise: Counter[str] = Counter()
        self._events = Histogram()
        self._runs = Few(self.config.runs_max)

    def add(self, judgement: Judgement, expected: Trace | None = None, actual: Trace | None = None) -> None:
        """Take up one run.

        Args:
            judgement: what is said of it.
            expected: the trace that was recorded, if the judgement does not carry it: for step lists and durations.
            actual: the core's trace, likewise.
        """
        if not judgement.workflow_type:
            judgement = replace(judgement, workflow_type=NO_TYPE)
        expected, actual = expected or judgement.expected, actual or judgement.actual
        self._type(judgement.workflow_type).add(judgement, expected)
        if judgement.events:
            self._events.add(judgement.events)
        for name, places in judgement.masked.items():
            mask = self._masks.setdefault(name, [0, 0])
            mask[0] += 1 if places else 0
            mask[1] += places
        if (noise := judgement.noise) is not None:
            self._noise.update(
                runs=1, unsteady=int(noise.is_unsteady), refused=int(noise.is_refused), missing=int(noise.missing)
            )
        if judgement.comparison is not None:
            self._compared(judgement, judgement.comparison, Traces(expected, actual))
        if judgement.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_RUN):
            key = (judgement.workflow_type, judgement.verdict, judgement.reason, judgement.subject)
            self._undecided.setdefault(key, UndecidedSum()).add(judgement)
        if judgement.verdict not in (Verdict.MATCH, Verdict.ACCEPTED):
            self._runs.add(_weight(judgement), run_line(judgement, self._scrub))

    def finish(self) -> Report:
        """The report of all runs so far. More may be added afterwards."""
        config = self.config
        groups = sorted(self._groups.sorted(), key=lambda found: not self._first[found.fingerprint])
        of_type = Counter(found.difference.workflow_type for found in groups)
        types = sorted((self._type_report(name, of, of_type[name]) for name, of in self._types.items()), key=_urgency)
        decision = Decision.NO_GO if config.expired else overall(found.decision for found in types)
        counts = _sum([of.verdicts for of in self._types.values()])
        own = sum(of.reasons[Reason.FAILED.value] for of in self._types.values())
        steps, duration = Histogram(), Histogram()
        for of in self._types.values():
            steps.merge(of.steps)
            duration.merge(of.duration)
        return Report(
            decision=decision,
            exit_code=exit_code(decision, own),
            why=" ".join([_why(types), *_expired(config.expired)]),
            campaign=config.campaign.model_copy(
                update={"values_shown": config.values, "ids_hashed": not config.ids or config.campaign.ids_hashed}
            ),
            rule=config.rule,
            counts=_counts(counts),
            types=tuple(types),
            groups=tuple(self._group(found) for found in groups[: config.groups_max]),
            groups_left_out=max(0, len(groups) - config.groups_max),
            accepted=self._accepted_differences(),
            undecided=self._without_answer(),
            unchecked=self._not_compared(),
            masks=tuple(
                Mask(name=name, reason=config.masks.get(name, "") or _MASKS.get(name, ""), runs=runs, places=places)
                for name, (runs, places) in sorted(self._masks.items())
            ),
            noise=Noise(**self._noise),
            strata=_strata(config.strata),
            features=self._features(),
            features_unseen=tuple(
                sorted(set(config.features) - {f for of in self._types.values() for f in of.features})
            ),
            steps=distribution(steps, "steps"),
            events=distribution(self._events, "events"),
            duration=distribution(duration, "ms"),
            runs=self._runs.sorted(),
            runs_left_out=self._runs.seen - len(self._runs.sorted()),
        )

    # -- taking up -----------------------------------------------------------------------------------------------------

    def _type(self, name: str) -> TypeSum:
        found = self._types.get(name)
        if found is None:
            found = self._types[name] = TypeSum()
        return found

    def _compared(self, judgement: Judgement, comparison: Comparison, traces: Traces) -> None:
        if judgement.verdict is Verdict.MISMATCH:
            best = self._groups.add(comparison, workflow_id=judgement.workflow_id, run_id=judgement.run_id)
            self._first.update(found.fingerprint for found in comparison.differences[:1])
            for group in best:
                self._exemplars[group.fingerprint] = exemplar_shown(
                    group.exemplar, comparison, traces, command=self.config.command, scrub=self._scrub
                )
        met: dict[str, tuple[Difference, Accepted]] = {}
        for difference, entry in comparison.accepted:
            met.setdefault(difference.fingerprint, (difference, entry))
        over = {entry.fingerprint: entry for entry in comparison.expired}
        for difference in comparison.differences:
            if difference.fingerprint in over:
                met.setdefault(difference.fingerprint, (difference, over[difference.fingerprint]))
        for fingerprint, (difference, entry) in met.items():
            accepted = self._accepted.setdefault(fingerprint, AcceptedSum(difference, entry))
            accepted.runs += 1
            accepted.expired |= fingerprint in over
        places = Counter((pattern(gap.path), gap.reason) for gap in comparison.unchecked)
        for (path, reason), occurrences in places.items():
            sums = self._unchecked.setdefault((judgement.workflow_type, path, reason), [0, 0])
            sums[0] += 1
            sums[1] += occurrences

    # -- summing up ----------------------------------------------------------------------------------------------------

    def _type_report(self, name: str, of: TypeSum, groups: int) -> TypeReport:
        counts = _counts(of.verdicts)
        left_out = sum(of.reasons[reason.value] for reason in LEFT_OUT)
        ruling = self.config.rule.decide(
            same=counts.same,
            different=counts.mismatch,
            undecided=counts.without_answer - left_out,
            left_out=left_out,
            unmet=sum(of.reasons[reason.value] for reason in UNMET),
        )
        shapes = [
            Shape(shape=shape, runs=runs, compared=compared, mismatches=mismatches)
            for shape, (runs, compared, mismatches) in of.shapes.items()
        ]
        shapes.sort(key=lambda found: (found.compared > 0, -found.runs, found.shape))
        return TypeReport(
            workflow_type=name,
            decision=ruling.decision,
            rule=ruling.rule,
            why=ruling.why,
            counts=counts,
            reasons=dict(sorted(of.reasons.items())),
            ways=dict(sorted(of.ways.items())),
            differ_at_most=at_most(counts.mismatch, counts.compared),
            shapes_seen=len(shapes),
            shapes_compared=sum(1 for found in shapes if found.compared),
            shapes_once=sum(1 for found in shapes if found.runs == 1),
            unseen_share=_unseen_share(shapes, self.config.passed_over.get(name, 0)),
            shapes=tuple(shapes[:SHAPES_MAX]),
            features=tuple(sorted(of.features)),
            groups=groups,
            steps=distribution(of.steps, "steps"),
            duration=distribution(of.duration, "ms"),
            source=self.config.sources.get(name),
        )

    def _group(self, group: Group) -> GroupReport:
        difference = group.difference
        shown = self._scrub.path(difference.pattern)
        return GroupReport(
            fingerprint=group.fingerprint,
            workflow_type=difference.workflow_type,
            level=difference.level,
            kind=difference.kind,
            pattern=shown,
            title=title(difference, shown),
            runs=group.runs,
            occurrences=group.occurrences,
            first_in=self._first[group.fingerprint],
            exemplar=self._exemplars[group.fingerprint],
        )

    def _accepted_differences(self) -> tuple[AcceptedDifference, ...]:
        found = {name: of.report(name, self._scrub) for name, of in self._accepted.items()}
        for entry in self.config.expired:  # also those that no run has met
            found.setdefault(entry.fingerprint, unmet(entry))
        return tuple(of for _, of in sorted(found.items()))

    def _without_answer(self) -> tuple[Undecided, ...]:
        found = []
        for (workflow_type, verdict, reason, subject), of in self._undecided.items():
            meaning, what_to_do = REASONS[reason] if reason is not None else ("No reason was given.", "")
            workflow_id, run_id, note = of.example
            found.append(
                Undecided(
                    workflow_type=workflow_type,
                    verdict=verdict,
                    reason=reason,
                    subject=subject,
                    runs=of.runs,
                    meaning=meaning,
                    what_to_do=what_to_do,
                    note=self._scrub.note(note),
                    workflow_id=self._scrub.id(workflow_id),
                    run_id=self._scrub.id(run_id),
                )
            )
        return tuple(sorted(found, key=lambda u: (-u.runs, u.workflow_type, u.verdict, u.reason or "", u.subject)))

    def _not_compared(self) -> tuple[UncheckedPath, ...]:
        found = [
            UncheckedPath(
                workflow_type=workflow_type,
                pattern=self._scrub.path(path),
                reason=reason,
                meaning=UNCHECKED.get(reason, reason),
                runs=runs,
                occurrences=occurrences,
            )
            for (workflow_type, path, reason), (runs, occurrences) in self._unchecked.items()
        ]
        return tuple(sorted(found, key=lambda u: (-u.runs, u.workflow_type, u.pattern, u.reason)))

    def _features(self) -> tuple[Feature, ...]:
        sums: dict[str, list[int]] = {}
        for of in self._types.values():
            for name, here in of.features.items():
                total = sums.setdefault(name, [0, 0, 0])
                for place, count in enumerate(here):
                    total[place] += count
        return tuple(
            Feature(name=name, runs=runs, compared=compared, mismatches=mismatches)
            for name, (runs, compared, mismatches) in sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))
        )


def scrubber(config: ReportConfig) -> Scrubber:
    return Scrubber(config.key, values=config.values, ids=config.ids, notes=config.notes)


def run_line(judgement: Judgement, scrub: Scrubber) -> RunLine:
    """What a report says of one run."""
    comparison = judgement.comparison
    differences = comparison.differences if comparison and judgement.verdict is Verdict.MISMATCH else ()
    return RunLine(
        workflow_type=judgement.workflow_type or NO_TYPE,
        workflow_id=scrub.id(judgement.workflow_id),
        run_id=scrub.id(judgement.run_id),
        verdict=judgement.verdict,
        way=judgement.way.value,
        reason=judgement.reason,
        subject=judgement.subject,
        note=scrub.note(judgement.note),
        level=min((found.level for found in differences), default=None),
        fingerprints=tuple(sorted({found.fingerprint for found in differences})),
        accepted=tuple(sorted({found.fingerprint for found, _ in comparison.accepted})) if comparison else (),
        unchecked=dict(sorted(Counter(gap.reason for gap in comparison.unchecked).items())) if comparison else {},
        masked=dict(sorted(judgement.masked.items())),
        shape=judgement.shape,
        features=tuple(sorted(judgement.features)),
        steps=judgement.steps,
        events=judgement.events,
    )


_ORDER = {verdict: place for place, verdict in enumerate((Verdict.MISMATCH, Verdict.INCONCLUSIVE, Verdict.NOT_RUN))}


def _weight(judgement: Judgement) -> tuple[object, ...]:
    return (_ORDER[judgement.verdict], judgement.workflow_type, judgement.workflow_id, judgement.run_id)


def _sum(counters: list[Counter[Verdict]]) -> Counter[Verdict]:
    total: Counter[Verdict] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _counts(verdicts: Counter[Verdict]) -> Counts:
    return Counts(**{verdict.value: verdicts[verdict] for verdict in Verdict})


def _unseen_share(shapes: list[Shape], passed_over: int) -> float | None:
    compared = sum(found.compared for found in shapes)
    return sum(found.compared == 1 for found in shapes) / (compared + passed_over) if compared >= UNSEEN_FLOOR else None


def _strata(strata: tuple[Stratum, ...]) -> tuple[StratumShown, ...]:
    found = [StratumShown(**asdict(one) | {"workflow_type": one.workflow_type or NO_TYPE}) for one in strata]
    return tuple(sorted(found, key=lambda one: (one.judged / (one.seen or 1), -one.seen, one.workflow_type, one.name)))


_URGENCY = {Decision.NO_GO: 0, Decision.CANNOT_TELL: 1, Decision.GO: 2}


def _urgency(found: TypeReport) -> tuple[int, int, str]:
    return (_URGENCY[found.decision], -found.counts.total, found.workflow_type)


_TOLD = (
    (Decision.NO_GO, "differ", "differs"),
    (Decision.CANNOT_TELL, "cannot be judged", "cannot be judged"),
    (Decision.GO, "do the same", "does the same"),
)


def _expired(entries: tuple[Accepted, ...]) -> list[str]:
    if not entries:
        return []
    names = ", ".join(f"{entry.fingerprint} of {entry.owner}" for entry in entries[:3])
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    return [f"Accepted differences have expired: {names}{more}."]


def _why(types: list[TypeReport]) -> str:
    if not types:
        return "There was no run to compare."
    told = []
    for decision, many, one in _TOLD:
        names = [found.workflow_type for found in types if found.decision is decision]
        if not names:
            continue
        words = one if len(names) == 1 else many
        if len(types) == 1:
            told.append(f"Runs of {names[0]} {many}")
        elif len(names) == len(types):
            told.append(f"All {len(types)} workflow types {words}")
        else:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            of = f"of {len(types)} workflow types " if not told else ""
            told.append(f"{len(names)} {of}{words} ({', '.join(names[:3])}{more})")
    return "; ".join(told) + "."
