"""Export: runs of a live namespace → a folder of JSON files, which ``files`` and Temporal's own ``Replayer`` read.

Payloads are written as the server has them: what a codec has encrypted stays encrypted. There is no export with the payloads
replaced by hashes: a workflow decides by what is in its payloads, so that its replay would go another way than it went.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from temporalio.client import WorkflowHistory

from dbos_shadow.reading.live import Namespace
from dbos_shadow.recorded import Recorded
from dbos_shadow.select import Candidate, Sample, Selection

__all__ = ["Exported", "export_all", "path_of", "write"]

NAME_BYTES_MAX = 200
"""File systems allow 255 bytes; this leaves room for suffixes."""


def path_of(folder: Path, run: Candidate | Recorded, *, zipped: bool = False) -> Path:
    """Where a run's history belongs: ``<workflow id> <run id>.json``; what a file name cannot hold is percent-encoded."""
    stem = quote(run.workflow_id, safe="-_.~@+,=:" if os.name != "nt" else "-_.~@+,=")
    if len(stem) > NAME_BYTES_MAX - 40:
        stem = stem[: NAME_BYTES_MAX - 40] + "~"
    return folder / f"{stem} {run.run_id}.json{'.gz' if zipped else ''}"


def write(folder: Path, recorded: Recorded, *, zipped: bool = False) -> Path:
    """Write a history. It is there as a whole or not at all; one that is there is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    path = path_of(folder, recorded, zipped=zipped)
    text = WorkflowHistory(recorded.workflow_id, recorded.events).to_json().encode()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    # Without a time in it, equal histories make equal files.
    partial.write_bytes(gzip.compress(text, mtime=0) if zipped else text)
    partial.replace(path)
    return path


@dataclass(slots=True)
class Exported:
    """How far an export is."""

    seen: int = 0
    """Runs that the selection wants."""
    chosen: int = 0
    written: int = 0
    there: int = 0
    """Closed runs that were in the folder."""
    gone: int = 0
    """Listed, and past their retention when they were read."""

    def text(self) -> str:
        return json.dumps(dataclasses.asdict(self))


async def export_all(
    source: Namespace,
    selection: Selection,
    folder: Path,
    *,
    zipped: bool = False,
    told: Callable[[Exported], None] = lambda _: None,
) -> Exported:
    """Write what a selection chooses. A closed run that is in the folder is not read again.

    Args:
        folder: is there.
        told: hears of every run.

    Raises:
        ServerUnavailable: the server did not answer for too long; what was written stays.
        OSError: the folder cannot be written.
    """
    found = Exported()
    sample = Sample(selection)
    async for candidate in source.candidates(selection):
        sample.offer(candidate)
        found.seen += 1
    picked = sample.chosen()
    chosen = iter(picked)
    found.chosen = len(picked)

    async def some() -> None:
        for candidate in chosen:
            path = path_of(folder, candidate, zipped=zipped)
            if candidate.status != "running" and await asyncio.to_thread(path.exists):
                found.there += 1
            elif (recorded := await source.read(candidate)) is None:
                found.gone += 1
            else:
                await asyncio.to_thread(write, folder, recorded, zipped=zipped)
                found.written += 1
            told(found)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(source.concurrency):
                group.create_task(some())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return found
