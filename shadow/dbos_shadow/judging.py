"""Judging: the workflows of a worker → a judge of recorded runs, by replay or by a free run."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from typing import Any

from temporalio.converter import DataConverter

from dbos_compat.sdk_release import SDK_VERSION
from dbos_compat.workbench import Workbench
from dbos_core.store.postgres import PostgresStore
from dbos_shadow.allow import Allowances
from dbos_shadow.baseline import measure
from dbos_shadow.campaign import Judge
from dbos_shadow.code import code_hash, name_of, versions
from dbos_shadow.free_run import free_run
from dbos_shadow.masks import FREE_RUN, LED, Mask
from dbos_shadow.names import NameMap
from dbos_shadow.pairing import SAME
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.select import features_of, shape_of
from dbos_shadow.stored import Stored
from dbos_shadow.stubs import Stub
from dbos_shadow.verdict import Judgement, Verdict, Way

__all__ = ["Baseline", "How", "code_settings", "dbos_compat_version", "judging", "masks_of"]

STORE_NAMESPACE = "shadow_store"
"""Replays that go through Postgres have schemas of their own there."""


class Baseline(enum.StrEnum):
    """Which runs are compared with themselves before two engines are told apart by them."""

    NONE = "none"
    MISMATCHES = "mismatches"
    """Where engines agree, noise has not disturbed."""
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """In which way runs are judged."""

    way: Way = Way.REPLAY
    """Replay or free run here; a mirror has a worker of its own."""
    baseline: Baseline = Baseline.MISMATCHES
    """Of replays; a free run is not the record's to the letter, and says so by its masks."""
    names: NameMap = SAME
    """Of a free run: recorded names that are others now."""
    stubs: Mapping[str, Stub] = field(default_factory=dict)
    """Of a free run: answers by type of activity or child."""
    run_for_real: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Of a free run: activities whose own code runs. Only those that are named here."""
    store_url: str | None = None
    """Of a replay: the core's journal goes through this Postgres and back. None: it stays in memory."""


def masks_of(way: Way) -> Sequence[Mask]:
    """What may differ since neither code nor history decides it."""
    return FREE_RUN if way is Way.FREE_RUN else LED


@contextlib.asynccontextmanager
async def judging(
    workflows: Sequence[type],
    *,
    data_converter: DataConverter = DataConverter.default,
    namespace: str = "default",
    worker_options: Mapping[str, Any] | None = None,
    encoded_headers: bool = False,
    allowances: Allowances | None = None,
    how: How | None = None,
) -> AsyncIterator[Judge]:
    """A judge, as long as the block runs.

    Args:
        workflows: the workflow classes.
        data_converter: as the namespace has it, with the codec.
        namespace: as workflows read it in their info.
        worker_options: what else ``temporalio.worker.Worker`` is given.
        encoded_headers: the clients encode headers with the codec.
        allowances: accepted differences.
        how: in which way; by replay, if nothing is said.

    Raises:
        what ``temporalio.worker.Worker`` raises for these options; StoreUnavailable, SchemaMissing, BadDatabaseURL of a
        database that replays shall go through.
    """
    accepted, how = allowances or Allowances(), how or How()
    async with contextlib.AsyncExitStack() as stack:
        bench = await stack.enter_async_context(
            Workbench(workflows, data_converter=data_converter, namespace=namespace, **(worker_options or {}))
        )
        store = None
        if how.store_url is not None:
            store = await stack.enter_async_context(Stored(PostgresStore(how.store_url, namespace=STORE_NAMESPACE)))

        async def judge(recorded: Recorded, /) -> Judgement:
            if how.way is Way.FREE_RUN:
                found = await free_run(
                    recorded,
                    bench,
                    stubs=how.stubs,
                    run_for_real=how.run_for_real,
                    names=how.names,
                    allowances=accepted,
                    headers_encoded=encoded_headers,
                )
            else:
                found = await replay_recorded(
                    recorded, bench, allowances=accepted, headers_encoded=encoded_headers, store=store
                )
                if how.baseline is Baseline.ALL or (
                    how.baseline is Baseline.MISMATCHES and found.verdict is Verdict.MISMATCH
                ):
                    (found,) = await measure([recorded], bench, [found], headers_encoded=encoded_headers)
            if found.expected is None:
                return found
            return dataclasses.replace(found, shape=shape_of(found.expected), features=features_of(found.expected))

        yield judge


def dbos_compat_version() -> str:
    """Of the installed release."""
    try:
        return metadata.version("dbos-compat")
    except metadata.PackageNotFoundError:
        return "from a checkout"


def code_settings(
    workflows: Sequence[type], data_converter: DataConverter, worker_options: Mapping[str, Any], how: How
) -> dict[str, Any]:
    """What of the code decides a verdict: for ``campaign.config_hash``."""
    return {
        "dbos_compat": dbos_compat_version(),
        "temporalio": SDK_VERSION,
        "workflows": sorted(f"{found.__module__}:{found.__qualname__}" for found in workflows),
        "code": code_hash(),
        "versions": versions(),
        "data_converter": name_of({one.name: getattr(data_converter, one.name) for one in fields(data_converter)}),
        "worker_options": name_of(worker_options),
        "way": how.way.value,
        "baseline": how.baseline.value,
        "names": repr(how.names) if how.way is Way.FREE_RUN else "",
        "stubs": name_of(how.stubs),
        "run_for_real": name_of(how.run_for_real),
        "masks": [mask.name for mask in masks_of(how.way)],
        "stored": how.store_url is not None,
    }
