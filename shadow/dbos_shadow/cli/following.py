"""Following: the worker of a mirror until a limit is reached, and the report of what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import logging
import signal
import sys
from collections.abc import Callable, Iterator

from temporalio.client import Client, HeaderCodecBehavior

from dbos_shadow.campaign import Counts, End, Limits
from dbos_shadow.cli import options as o
from dbos_shadow.cli.asked import Code, limits_of, opened, read_report, rule_of, showing_of
from dbos_shadow.cli.ending import Exit, as_asked
from dbos_shadow.cli.outputs import check_suffixes
from dbos_shadow.cli.progress import showing
from dbos_shadow.cli.work import ended, finish, kept_as, make_report, sources
from dbos_shadow.mirror import MirrorWorker
from dbos_shadow.mirror.keeping import Kept
from dbos_shadow.mirror.worker import RETENTION
from dbos_shadow.verdict import Judgement


async def follow_and_show(
    temporal: Client,
    code: Code,
    asked: o.SessionOptions,
    *,
    url: str,
    mirror: str,
    has_converter: bool,
    histories_at_once: int,
    runs_at_once: int,
    query: str,
    caught_up: bool,
    command: str,
) -> Exit:
    """Follow what a mirror has noted, show the report, and say what the command exits with.

    Args:
        url: of the mirror's database.
        mirror: its namespace there.
        has_converter: the code's data converter was given; else the client's holds.
        histories_at_once: requests for histories that may be under way at a time.
        runs_at_once: that are followed.
        query: a list filter; runs that match it are followed too, if they begin from now on.
        caught_up: stop when every run that was noted has a verdict.
        command: shows an exemplar again.
    """
    out = asked.report.out or ()
    check_suffixes(out)
    before = read_report(asked.report.against)
    shown = showing_of(asked.shown)
    async with opened(asked.place) as results:
        kept = Kept(
            results=results,
            key=shown.key,
            values=shown.values,
            notes=shown.notes,
            name=asked.name,
            command=command,
        )
        with showing(quiet=asked.as_json) as shower, warnings():
            session = _Session(limits_of(asked.limits), shower)
            shower.counts = session.counts
            with as_asked():
                worker = MirrorWorker(
                    _reading(temporal, code, has_converter=has_converter),
                    url=url,
                    namespace=mirror,
                    workflows=code.workflows,
                    allowances=code.allowances,
                    kept=kept,
                    on_judgement=session.heard,
                    query=query,
                    histories_at_once=histories_at_once,
                    runs_at_once=runs_at_once,
                    retention=asked.retention or RETENTION,
                    **code.worker_options,
                )
            end = await session.run(worker, caught_up=caught_up)
        (campaign,) = [row for row in await results.campaigns() if row.config == worker.config]
        report_as = dataclasses.replace(
            kept_as(campaign, shown, rule_of(asked.verdict), label=asked.report.label),
            sources=sources(code.workflows),
            expired=code.allowances.expired,
        )
        report, lines = await make_report(results, campaign.config, report_as)
    return finish(report, lines, before=before, out=out, as_json=asked.as_json, ending=ended(end, report))


def _reading(temporal: Client, code: Code, *, has_converter: bool) -> Client:
    """The client with which histories are read, and by whose converter they are decoded."""
    config = temporal.config()
    if has_converter:
        config["data_converter"] = code.converter
    if code.encoded_headers:
        config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
    return Client(**config)


@contextlib.contextmanager
def warnings() -> Iterator[None]:
    """What an operator has to know (a database is away, a run could not be mirrored) is on standard error as it happens.
    Of errors it is only said of which type they are: their words may quote payloads."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Brief("%(asctime)s %(message)s"))
    told = logging.getLogger("dbos_shadow")
    told.addHandler(handler)
    try:
        yield
    finally:
        told.removeHandler(handler)


class _Brief(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = copy.copy(record)
        said.exc_info = said.exc_text = None
        kind = record.exc_info[0] if record.exc_info else None
        return super().format(said) + (f" ({kind.__name__})" if kind is not None else "")


class _Session:
    """A worker that follows, until a limit is reached."""

    def __init__(self, limits: Limits, on_judgement: Callable[[Judgement], None]) -> None:
        self.counts = Counts()
        self._limits = limits
        self._on_judgement = on_judgement
        self._types: set[str] = set()
        self._end: End | None = None
        self._stopped = False
        self._over = asyncio.Event()

    def heard(self, judgement: Judgement) -> None:
        counts = self.counts
        counts.judged += 1
        counts.say(judgement.workflow_type, judgement.verdict.value, judgement.reason.value if judgement.reason else "")
        self._types.add(judgement.workflow_type)
        self._on_judgement(judgement)
        self._end = self._end or self._limits.reached(counts, self._types)
        if self._end is not None:
            self._over.set()

    async def run(self, worker: MirrorWorker, *, caught_up: bool) -> End:
        """Raises what ``MirrorWorker.run`` raises; KeyboardInterrupt, too, if it is told to stop by SIGTERM."""
        running = asyncio.create_task(worker.run())
        over = asyncio.create_task(self._over.wait())
        through = asyncio.create_task(worker.caught_up()) if caught_up else None
        tasks: set[asyncio.Task[object]] = {running, over, *([through] if through else [])}
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not everywhere, not on every thread
            loop.add_signal_handler(signal.SIGTERM, self._stop)
        try:
            await asyncio.wait(tasks, timeout=self._limits.deadline_s, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            if self._stopped:
                raise KeyboardInterrupt
            if self._end is not None:
                return self._end
            return End.DONE if through is not None and through.done() else End.DEADLINE
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _stop(self) -> None:
        self._stopped = True
        self._over.set()
