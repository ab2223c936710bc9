"""Checks: recorded histories as tests of a team's own suite. Plain functions; ``pytest_plugin`` makes a test of each file.

::

    from dbos_shadow.checks import assert_same

    def test_orders() -> None:
        assert_same("histories/", workflows=[Order, Refund], data_converter=converter)

Nothing is executed and nothing is connected to. What a check says holds no payload values, unless it is told to.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from temporalio import workflow as _workflow
from temporalio.converter import DataConverter

# A test's file that holds its workflow, too, is imported again inside the SDK's sandbox.
with _workflow.unsafe.imports_passed_through():
    import dbos_shadow.allow
    from dbos_shadow.allow import Allowances
    from dbos_shadow.difference import Difference
    from dbos_shadow.judging import How, judging
    from dbos_shadow.quiet import quiet
    from dbos_shadow.reading import files
    from dbos_shadow.reading.files import Unreadable
    from dbos_shadow.recorded import Recorded
    from dbos_shadow.report.scrub import Scrubber
    from dbos_shadow.undecided import unreadable
    from dbos_shadow.verdict import Judgement, Reason, Verdict

__all__ = ["ShadowMismatch", "assert_same", "explain", "histories", "is_same", "judge_histories"]

T = TypeVar("T")

SHOWN_MAX = 5
"""Differences of one run that are told; the report tells them all."""


class ShadowMismatch(AssertionError):
    """Recorded runs and the core do not do the same, or nobody can tell."""


def histories(*paths: str | Path) -> list[Recorded | Unreadable]:
    """The runs in files and folders, in the order of the files.

    Raises:
        NoHistories: there is none.
    """
    return [found for path in files.find(paths) for found in files.read(path)]


def judge_histories(
    runs: str | Path | Iterable[str | Path | Recorded | Unreadable],
    workflows: Sequence[type],
    *,
    data_converter: DataConverter = DataConverter.default,
    namespace: str = "default",
    worker_options: Mapping[str, Any] | None = None,
    allowances: Allowances | str | Path | None = None,
    how: How | None = None,
) -> list[Judgement]:
    """Replay recorded runs on the core and say of each whether it did the same. It returns when all is judged.

    Args:
        runs: files, folders, or runs that ``histories`` has read.
        workflows: the workflow classes.
        data_converter: as the namespace has it, with the codec.
        namespace: as workflows read it in their info.
        worker_options: what else ``temporalio.worker.Worker`` is given.
        allowances: accepted differences, or their file.
        how: in which way: by replay, or by a free run with names and stubs.

    Raises:
        NoHistories: there is none.
        AllowancesUnreadable: the file of accepted differences is not what it should be.
    """

    async def work() -> list[Judgement]:
        async with judging(
            workflows,
            data_converter=data_converter,
            namespace=namespace,
            worker_options=worker_options,
            allowances=read_allowances(allowances),
            how=how,
        ) as judge:
            return [
                found if isinstance(found, Judgement) else await judge(found) for found in map(_readable, _all(runs))
            ]

    with quiet():
        return _run(work())


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end; where an event loop runs already, beside that, which waits meanwhile.

    Also beside whoever is handling an exception: each one that workflow code raises would get that one for its context, and
    Temporal writes contexts into failures, as causes.
    """
    if sys.exception() is None and not _in_a_loop():
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, work).result()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def assert_same(
    runs: str | Path | Iterable[str | Path | Recorded | Unreadable],
    workflows: Sequence[type],
    *,
    show_values: bool = False,
    allowances: Allowances | str | Path | None = None,
    **options: Any,
) -> list[Judgement]:
    """As ``judge_histories``; it fails where a run differs, where nobody can tell, where there is no run, and where an
    acceptance has expired.

    Args:
        show_values: tell the values of differences too.

    Raises:
        ShadowMismatch: with what differs, of every run.
    """
    accepted = read_allowances(allowances)
    found = judge_histories(runs, workflows, allowances=accepted, **options)
    if not found:
        raise ShadowMismatch("There was no run to judge, and nothing is not the same as anything.")
    wrong = [explain(judgement, show_values=show_values) for judgement in found if not is_same(judgement)]
    wrong += [expired_words(accepted)] if accepted.expired else []
    if wrong:
        raise ShadowMismatch(f"{len(wrong)} of {len(found)} runs are not the same.\n\n" + "\n\n".join(wrong))
    return found


def is_same(judgement: Judgement) -> bool:
    """May a test be green for it? What nobody could look at is not."""
    return judgement.verdict in (Verdict.MATCH, Verdict.ACCEPTED)


def explain(judgement: Judgement, *, show_values: bool = False) -> str:
    """What is said of a run, for the output of a test."""
    head = (
        f"{judgement.workflow_type or 'run'} {judgement.workflow_id!r} ({judgement.run_id}): {judgement.verdict.value}"
    )
    comparison = judgement.comparison
    if judgement.verdict is not Verdict.MISMATCH or comparison is None:
        reason = f", {judgement.reason.value}" if judgement.reason else ""
        subject = f" ({judgement.subject})" if judgement.subject else ""
        # A note may quote what user code said.
        note = f"\n  {judgement.note}" if judgement.note and (show_values or judgement.reason in _PLAIN_NOTES) else ""
        return head + reason + subject + note
    lines = [_line(found, show_values) for found in comparison.differences[:SHOWN_MAX]]
    more = len(comparison.differences) - len(lines)
    return "\n".join([head, *lines, *([f"  and {more} more"] if more else [])])


@cache
def _scrubber() -> Scrubber:
    """Keys of objects may be values: those that do not look like names are hashed, with a key of this process."""
    return Scrubber(secrets.token_bytes(32))


_PLAIN_NOTES = frozenset({Reason.TRUNCATED, Reason.UNKNOWN_TYPE, Reason.SEALED})


def _line(found: Difference, show_values: bool) -> str:
    step = f" at step {found.step}" if found.step is not None else ""
    values = f"\n      recorded {found.expected}\n      core     {found.actual}" if show_values else ""
    path = found.path if show_values else _scrubber().path(found.pattern)
    return f"  {found.level} {path}: {found.kind.value}{step}  [{found.fingerprint}]{values}"


def expired_words(allowances: Allowances) -> str:
    names = ", ".join(f"{entry.fingerprint} of {entry.owner}, {entry.expires}" for entry in allowances.expired)
    return f"Accepted differences have expired: {names}. Look at them again, or strike them off."


def read_allowances(given: Allowances | str | Path | None) -> Allowances:
    """Accepted differences as of today."""
    if given is None:
        return Allowances()
    if isinstance(given, Allowances):
        return given
    return dbos_shadow.allow.read(Path(given).read_text(encoding="utf-8"), today=datetime.now(UTC).date())


def _all(runs: str | Path | Iterable[str | Path | Recorded | Unreadable]) -> list[Recorded | Unreadable]:
    given = [runs] if isinstance(runs, (str, Path)) else list(runs)
    found: list[Recorded | Unreadable] = []
    for one in given:
        if isinstance(one, (str, Path)):
            found += histories(one)
        else:
            found.append(one)
    return found


def _readable(found: Recorded | Unreadable) -> Recorded | Judgement:
    return found if isinstance(found, Recorded) else unreadable(found)
