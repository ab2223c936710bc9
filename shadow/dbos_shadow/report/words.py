"""What a report holds in words, the same in every renderer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dbos_shadow.report.explain import HASH_SEED
from dbos_shadow.report.figures import counted, percent, short_ms
from dbos_shadow.report.model import Report, Row, StepShown, TypeReport, Undecided
from dbos_shadow.report.rule import Decision
from dbos_shadow.report.scrub import Shown
from dbos_shadow.verdict import Verdict

__all__ = ["bound", "by_reason", "sentences", "side_words", "step_words", "teaser", "undecided_words"]


def step_words(step: StepShown) -> str:
    """``activity charge(object #1f…)``"""
    head = " ".join(part for part in (step.kind.replace("_", " "), step.name) if part)
    if step.duration_ms is not None:
        return f"{head} {short_ms(step.duration_ms)}"
    if step.inputs is None:
        return f"{head}(…)"
    return f"{head}({', '.join(shown.short for shown in step.inputs)})" if step.inputs else head


def side_words(row: Row) -> tuple[str, str]:
    """Both sides of a row; empty where nothing stands."""
    return (
        step_words(row.expected) if row.expected else _with_values(row.expected_text, row.expected_values),
        step_words(row.actual) if row.actual else _with_values(row.actual_text, row.actual_values),
    )


def _with_values(text: str, values: Sequence[Shown]) -> str:
    return f"{text}({', '.join(shown.short for shown in values)})" if values else text


def taken_over(report: Report) -> str:
    """How much of it was judged before; empty: nothing."""
    taken, total = report.campaign.taken_over, report.counts.total
    return f"{taken:,} of {total:,} taken over from before (--fresh judges again)" if taken else ""


def repeated(report: Report) -> str:
    """What was there more than once; empty: nothing."""
    count, ids = report.campaign.repeated, report.campaign.repeated_ids
    if not count:
        return ""
    more = f" and {count - len(ids):,} more" if count > len(ids) else ""
    was = "history was found once more and is" if count == 1 else "histories were found once more and are"
    return f"{count:,} {was} counted once: {', '.join(ids)}{more}"


def teaser(report: Report) -> list[str]:
    """What was not checked, in a few words: for the first screen."""
    told: list[str] = []
    if count := report.counts.without_answer:
        told.append(f"{counted(count, 'run')} without an answer")
    if count := sum(path.occurrences for path in report.unchecked):
        told.append(f"{counted(count, 'place')} that could not be compared")
    if count := sum(mask.places for mask in report.masks):
        told.append(f"{counted(count, 'place')} hidden by masks")
    if (selected := report.campaign.selected) is not None and selected > report.counts.total:
        told.append(f"{selected - report.counts.total:,} selected runs not sampled")
    if count := len(report.features_unseen):
        told.append(f"{counted(count, 'feature')} that no run has used")
    return told


def undecided_words(found: Sequence[Undecided]) -> str:
    """Runs without an answer, all for one reason, of any types."""
    runs, one = sum(of.runs for of in found), found[0]
    types = sorted({of.workflow_type for of in found})
    told = f"{counted(runs, 'run')} {'not run' if one.verdict is Verdict.NOT_RUN else 'inconclusive'}"
    if one.reason is not None:
        told += f", {one.reason.value.replace('_', ' ')}{f' ({one.subject})' if one.subject else ''}"
    told += f", of {', '.join(types[:4])}{f' and {len(types) - 4} more types' if len(types) > 4 else ''}. {one.meaning}"
    notes = [of.note.text for of in found if of.note is not None and of.note.text is not None]
    return " ".join([told, *notes[:1], one.what_to_do]).strip()


BOUND_MAX = 0.2
"""A bound above it says nothing that the number of runs does not."""


def bound(found: TypeReport) -> str:
    """What the sample says of all runs of a type, with 95 % confidence; empty: too little."""
    if found.decision is not Decision.GO or found.differ_at_most is None or found.differ_at_most > BOUND_MAX:
        return ""
    return f"so less than {percent(found.differ_at_most)} of all do otherwise"


def by_reason(report: Report) -> list[list[Undecided]]:
    """Runs without an answer by reason and subject, most runs first."""
    found: dict[tuple[str, str, str], list[Undecided]] = {}
    for of in report.undecided:
        found.setdefault((of.verdict, of.reason or "", of.subject), []).append(of)
    return sorted(found.values(), key=lambda group: -sum(of.runs for of in group))


def sentences(report: Report) -> list[str]:
    """What was not checked, a sentence each, what concerns most runs first. It is never empty."""
    told = [undecided_words(found) for found in by_reason(report)]
    unchecked: dict[str, tuple[int, int]] = {}
    for path in report.unchecked:
        places, runs = unchecked.get(path.meaning, (0, 0))
        unchecked[path.meaning] = (places + path.occurrences, max(runs, path.runs))
    told += [
        f"{counted(places, 'place')} not compared: {meaning}" for meaning, (places, _) in sorted(unchecked.items())
    ]
    told += [
        f"{mask.places:,} places hidden in {mask.runs:,} runs by the mask {mask.name}"
        + (f": {mask.reason}" if mask.reason else "")
        for mask in report.masks
        if mask.places
    ]
    if report.counts.mismatch:
        told.append(HASH_SEED)
    if missing := report.noise.missing:
        told.append(
            f"whether the code has changed is not known of {counted(missing, 'run')}: Temporal's own replayer did not answer"
        )
    once = sum(found.shapes_once for found in report.types)
    if once:
        told.append(f"{once:,} {'shape was' if once == 1 else 'shapes were'} seen once only: others may be unseen")
    unseen = sum(found.shapes_seen - found.shapes_compared for found in report.types)
    if unseen:
        told.append(f"{unseen:,} {'shape was' if unseen == 1 else 'shapes were'} seen, and no run of it compared")
    told += [
        f"by estimate {percent(found.unseen_share)} of all runs of {found.workflow_type} have shapes that were not compared"
        for found in report.types
        if found.unseen_share
    ][:5]
    thin = [one for one in report.strata if one.seen and not one.judged]
    if thin:
        names = ", ".join(f"{one.workflow_type} {one.name} ({one.seen:,} seen)" for one in thin[:4])
        one_kind = len(thin) == 1
        kinds = "kind of runs was" if one_kind else "kinds of runs were"
        told.append(f"{len(thin):,} {kinds} seen, and none of {'it' if one_kind else 'them'} judged: {names}")
    if report.features_unseen:
        told.append(f"no run has used {', '.join(name.replace('_', ' ') for name in report.features_unseen)}")
    selected, total = report.campaign.selected, report.counts.total
    if selected is not None and selected > total:
        scouted = report.campaign.scouted
        read = f"; {scouted:,} were read beside it, and judged where their shape was rare" if scouted else ""
        told.append(f"{selected - total:,} of {selected:,} selected runs were not in the sample{read}")
    if more := repeated(report):
        told.append(more)
    told.append("times are never compared run by run, nor are attempts that were tried again: they are chance")
    return told
