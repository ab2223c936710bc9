"""Judging: the workflows of a worker → a judge of recorded runs, by replay."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from temporalio.converter import DataConverter

from dbos_compat.sdk_release import SDK_VERSION
from dbos_compat.workbench import Workbench
from dbos_shadow.allow import Allowances
from dbos_shadow.campaign import Judge
from dbos_shadow.code import code_hash
from dbos_shadow.recorded import Recorded
from dbos_shadow.replay import replay_recorded
from dbos_shadow.select import features_of, shape_of
from dbos_shadow.verdict import Judgement

__all__ = ["code_settings", "dbos_compat_version", "judging"]


@contextlib.asynccontextmanager
async def judging(
    workflows: Sequence[type],
    *,
    data_converter: DataConverter = DataConverter.default,
    namespace: str = "default",
    worker_options: Mapping[str, Any] | None = None,
    encoded_headers: bool = False,
    allowances: Allowances | None = None,
) -> AsyncIterator[Judge]:
    """A judge, as long as the block runs.

    Args:
        workflows: the workflow classes.
        data_converter: as the namespace has it, with the codec.
        namespace: as workflows read it in their info.
        worker_options: what else ``temporalio.worker.Worker`` is given.
        encoded_headers: the clients encode headers with the codec.
        allowances: accepted differences.

    Raises:
        what ``temporalio.worker.Worker`` raises for these options.
    """
    accepted = allowances or Allowances()
    bench = Workbench(workflows, data_converter=data_converter, namespace=namespace, **(worker_options or {}))
    async with bench:

        async def judge(recorded: Recorded, /) -> Judgement:
            found = await replay_recorded(recorded, bench, allowances=accepted, headers_encoded=encoded_headers)
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
    workflows: Sequence[type], data_converter: DataConverter, worker_options: Mapping[str, Any]
) -> dict[str, Any]:
    """What of the code decides a verdict: for ``campaign.config_hash``."""
    objects = [
        *workflows,
        type(data_converter),
        data_converter.payload_converter_class,
        type(data_converter.payload_codec),
    ]
    return {
        "dbos_compat": dbos_compat_version(),
        "temporalio": SDK_VERSION,
        "workflows": sorted(f"{found.__module__}:{found.__qualname__}" for found in workflows),
        "code": code_hash(objects),
        "worker_options": sorted(worker_options),
    }
