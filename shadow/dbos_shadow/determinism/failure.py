"""What the kit raises: a rule does not hold in some schedule, or what it is to test makes no sense."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from dbos_core.errors import DBOSCompatError, Theirs
from dbos_shadow.determinism.happenings import Happening


class Rule(enum.StrEnum):
    """What is always asserted. The value is the rule in one sentence."""

    SAME_COMMANDS = "the same decisions give the same commands"
    REPLAY = "a replay gives the commands that the first run gave"
    HASH_SEED = "another process with another hash seed gives the same commands"
    TASK_FAILS = "workflow code does not fail its workflow task"
    CRASH_FREE = "a crash anywhere gives the result that there is without it"
    STEP_ONCE = "a checkpointed step never runs again"
    ATTEMPTS = "bounded attempts are never exceeded"
    AFTER_COMMIT = "nothing leaves before its checkpoint is durable"
    UPDATE_ONCE = "every accepted update completes once"
    SIGNAL_ONCE = "signals arrive exactly once and in order"
    HANDLERS_FINISH = "a workflow does not end over an unfinished handler"
    TIMERS = "timers ring once, and not before they are due"
    WAKE_UP = "no wake-up is lost"
    CANCEL_ENDS = "cancellation reaches an end"
    EVICTION = "a workflow can leave memory at any suspension"
    HISTORY = "Temporal's own Replayer accepts the exported history"
    STUBS = "no activity outside the stubs runs"
    FENCE = "only the owner of a run writes to it"
    PROGRESS = "a closed run stays closed and a journal only grows"
    ENDS = "the workflow ends"
    INVARIANT = "the invariants of the test hold"
    DURABLE = "what comes to a workflow has the same end on Postgres and in memory"
    QUERY = "a query changes nothing"
    ENGINE = "the engine does not fail"


class UncheckedWarning(UserWarning):
    """Something was not tried. The text says what, and what to do so that it is."""


class DeterminismError(DBOSCompatError, AssertionError):
    """A schedule breaks a rule. ``decisions`` brings it back in any process."""

    code = "DC700"

    def __init__(
        self,
        rule: Rule,
        what: str,
        *,
        workflow: str,
        decisions: Sequence[int],
        happenings: Sequence[Happening] = (),
        history: str | None = None,
        hash_seeds: Sequence[int] = (),
        times: int = 0,
    ) -> None:
        """
        Args:
            rule: which one.
            what: what was seen instead, in a sentence.
            workflow: its type.
            decisions: the schedule.
            happenings: what led there; the last one is what is broken.
            history: of the run, as JSON that the Temporal tools read, if there is one.
            hash_seeds: with which the schedule was run elsewhere, where it takes them to break the rule.
            times: so often the schedule is to be run to break the rule, where once is not enough.
        """
        self.rule = rule
        self.what = what
        self.workflow = workflow
        self.decisions = tuple(decisions)
        self.happenings = tuple(happenings)
        self.history = history
        self.hash_seeds = tuple(hash_seeds)
        self.times = times
        super().__init__(
            f"workflow {workflow!r} breaks the rule that {rule.value}: {what} The schedule is decisions={list(decisions)}; "
            "run it again with check_schedule()."
        )


class BadPlan(Theirs, ValueError):
    """What is to be tested cannot be: an argument means nothing, or there are no values for one. No schedule was run."""

    code = "DC703"
