"""What the words of a report mean, and what a reader can do. One sentence each. Pure."""

from __future__ import annotations

from dbos_shadow.difference import Difference, Kind, Level
from dbos_shadow.failed_task import PLACE
from dbos_shadow.verdict import Reason

__all__ = ["HASH_SEED", "LEVELS", "REASONS", "UNCHECKED", "title"]

LEVELS: dict[Level, str] = {
    Level.OUTCOME: "outcome",
    Level.SEQUENCE: "sequence of steps",
    Level.INPUTS: "inputs and values",
    Level.OPTIONS: "options",
    Level.TIMING: "durations",
}

REASONS: dict[Reason, tuple[str, str]] = {
    Reason.TRUNCATED: (
        "The history is cut, has gaps, or holds events that are not known.",
        "Export it whole, or wait until the run is closed.",
    ),
    Reason.SEALED: (
        "Some values can be read with a codec only; none was given, or it failed.",
        "Give the data converter and the codec of the namespace, with its keys.",
    ),
    Reason.NO_STUB: (
        "An activity has neither a recorded result nor a stub. It was not executed.",
        "Give a stub for it.",
    ),
    Reason.NONDETERMINISTIC: (
        "Equal runs on one engine differ: it is the workflow's own doing, not the engines'.",
        "Look for time, chance or global state in the workflow's code.",
    ),
    Reason.BASELINE: (
        "Temporal's own replayer refuses this history with this code: the code has changed since.",
        "Check out the code that made the history, or patch the change.",
    ),
    Reason.UNKNOWN_TYPE: (
        "No workflow of this type was given.",
        "Give its class, or leave the type out of the selection.",
    ),
    Reason.UNSUPPORTED: (
        "The run uses what dbos-compat refuses by name.",
        "See the page on differences.",
    ),
    Reason.RESET: (
        "The history was reset in a way that a replay cannot repeat.",
        "Judge another run of this shape.",
    ),
    Reason.NOT_MIRRORED: (
        "The shadow side of the mirror failed or was down. The caller never noticed.",
        "Look into its log; the run can still be replayed.",
    ),
    Reason.STILL_RUNNING: (
        "There is nothing to compare yet.",
        "Judge it again later.",
    ),
    Reason.NO_TASK: (
        "No workflow task was completed: no code of the workflow has run.",
        "Nothing: such a run says nothing about the code. If all are so, no worker was there.",
    ),
    Reason.FAILED: (
        "The shadow itself has failed. It is our fault.",
        "Please report it with the note and the versions.",
    ),
    Reason.EXCLUDED: (
        "The selection left it out after it was read.",
        "Nothing, if that was meant.",
    ),
}

HASH_SEED = (
    "whether the order of a set decides: one process has one hash seed, so its replays all agree. Judge a run that differs again "
    "with PYTHONHASHSEED=1, then 2: if the verdict changes, it is the workflow's own doing (dbos-compat determinism tries seeds "
    "as well)"
)
"""Said wherever runs differ."""

UNCHECKED: dict[str, str] = {
    "not_recorded": "a Temporal history does not record it",
    "sealed": "only a codec can read it",
    "incomplete": "it lies behind the end of a record that was cut",
    "given_up": "the workflow had stopped waiting for it",
    "deprecated": "the patch was deprecated when the run was recorded, and is gone from the code now",
}

_STEP = {
    Kind.MISSING: "{label} is not asked for",
    Kind.EXTRA: "{label} is asked for in addition",
    Kind.ORDER: "{label} is asked for at another place",
    Kind.TYPE: "{label} is replaced by another step",
    Kind.VALUE: "{label} is another step",
}
_ARRIVAL = {
    Kind.MISSING: "{label} never arrives",
    Kind.EXTRA: "{label} arrives in addition",
    Kind.ORDER: "{label} arrives at another place",
    Kind.TYPE: "{label} is replaced by another message",
    Kind.VALUE: "{label} is another one",
}
_VALUE = {
    Kind.MISSING: "{label}: {part} is missing",
    Kind.EXTRA: "{label}: {part} is there in addition",
    Kind.ORDER: "{label}: {part} has another order",
    Kind.TYPE: "{label}: {part} has another type",
    Kind.VALUE: "{label}: {part} has another value",
}


_KINDS = {
    "local_activity": "local activity",
    "signal_external": "signal to another workflow",
    "cancel_external": "cancel request to another workflow",
    "cancel_activity": "cancel of activity",
    "cancel_timer": "cancel of timer",
    "cancel_child": "cancel of child",
    "cancel_nexus": "cancel of Nexus operation",
    "nexus": "Nexus operation",
    "upsert_search_attributes": "upsert of search attributes",
    "upsert_memo": "upsert of memo",
    "update_accepted": "acceptance of update",
    "update_completed": "completion of update",
    "continue_as_new": "continue-as-new",
    "child_started": "start of child",
    "external_signaled": "delivery of signal",
    "external_canceled": "delivery of cancel request",
}
"""Kinds of steps and arrivals that are no words."""


def title(difference: Difference, pattern: str) -> str:
    """A difference in words, without values; ``pattern`` is its scrubbed pattern."""
    if pattern.startswith(PLACE):
        return f"a workflow task failed: {pattern.removeprefix(f'{PLACE}.')}"
    label, _, part = pattern.partition(": ")
    label = label.removeprefix("arrival ")
    kind, blank, name = label.partition(" ")
    label = _KINDS.get(kind, kind) + blank + name
    if part == "step":
        return _STEP[difference.kind].format(label=label)
    if part in ("arrival", "where"):
        return _ARRIVAL[difference.kind].format(label=label)
    if label == "outcome" and part == "status":
        return "the run ends in another way"
    if part == "duration_ms":
        return f"{label}: another duration is asked for"
    return _VALUE[difference.kind].format(label=label, part=part)
