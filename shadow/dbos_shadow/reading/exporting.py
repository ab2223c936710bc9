"""Export: runs of a live namespace → a folder of JSON files, which ``files`` and Temporal's own ``Replayer`` read.

Payloads are written as the server has them: what a codec has encrypted stays encrypted. There is no export with the payloads
replaced by hashes: a workflow decides by what is in its payloads, so that its replay would go another way than it went.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from temporalio.client import WorkflowHistory

from dbos_shadow.reading import files
from dbos_shadow.reading.live import Namespace
from dbos_shadow.recorded import Recorded
from dbos_shadow.scouting import Scouts, Shapes
from dbos_shadow.select import Candidate, Sample, Selection, shape_of
from dbos_shadow.sources import history

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
    scouted: int = 0
    """Read beside the sample, for rare shapes; those that were kept are among the chosen."""

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
    """Write what a selection chooses, and what its scouts find. A closed run that is in the folder is not read again.

    Args:
        folder: is there.
        told: hears of every run.

    Raises:
        ServerUnavailable: the server did not answer for too long; what was written stays.
        OSError: the folder cannot be written.
    """
    found = Exported()
    sample, scouts = Sample(selection), Scouts(selection)
    async for candidate in source.candidates(selection):
        sample.offer(candidate)
        scouts.offer(candidate)
        found.seen += 1
    export = _Export(source, folder, zipped, found, told)
    picked = sample.chosen()
    found.chosen = len(picked)
    try:
        await export.all(picked, shapes=bool(selection.scouts) and not selection.takes_all)
        if not selection.takes_all:
            names = {(run.workflow_id, run.run_id) for run in picked}
            await export.rare(scouts.beside(names), selection.floor)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return found


class _Export:
    """One export under way."""

    def __init__(
        self, source: Namespace, folder: Path, zipped: bool, found: Exported, told: Callable[[Exported], None]
    ) -> None:
        self._source = source
        self._folder = folder
        self._zipped = zipped
        self._found = found
        self._told = told
        self._shapes = Shapes()

    async def all(self, picked: Iterable[Candidate], *, shapes: bool) -> None:
        """Write all of them; ``shapes``: and take note of what they have done."""
        left = iter(picked)

        async def some() -> None:
            for candidate in left:
                path = path_of(self._folder, candidate, zipped=self._zipped)
                is_there = not candidate.is_open and await asyncio.to_thread(path.exists)
                if is_there and not shapes:
                    self._found.there += 1
                else:
                    recorded, is_there = await self._read(candidate)
                    await self._keep(recorded, is_there)
                    if shapes and recorded is not None:
                        self._shapes.met(candidate.workflow_type, _shape(recorded))
                self._told(self._found)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._source.concurrency):
                group.create_task(some())

    async def rare(self, candidates: Iterable[Candidate], floor: int) -> None:
        """Of these, write those whose shape was met less than ``floor`` times, in their order."""
        left = iter(candidates)
        while batch := list(itertools.islice(left, self._source.concurrency)):
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(self._read(candidate)) for candidate in batch]
            for candidate, read in zip(batch, reading, strict=True):
                self._found.scouted += 1
                recorded, is_there = read.result()
                if recorded is None:
                    continue
                shape = _shape(recorded)
                if self._shapes.is_rare(candidate.workflow_type, shape, floor):
                    self._shapes.met(candidate.workflow_type, shape)
                    self._found.chosen += 1
                    await self._keep(recorded, is_there)
                self._told(self._found)

    async def _read(self, candidate: Candidate) -> tuple[Recorded | None, bool]:
        """A history, and whether it was in the folder. None: it is gone."""
        path = path_of(self._folder, candidate, zipped=self._zipped)
        if not candidate.is_open and await asyncio.to_thread(path.exists):
            (kept,) = await asyncio.to_thread(lambda: list(files.read(path)))
            if isinstance(kept, Recorded):
                return kept, True
        return await self._source.read(candidate), False

    async def _keep(self, recorded: Recorded | None, is_there: bool) -> None:
        if recorded is None:
            self._found.gone += 1
        elif is_there:
            self._found.there += 1
        else:
            await asyncio.to_thread(write, self._folder, recorded, zipped=self._zipped)
            self._found.written += 1


def _shape(recorded: Recorded) -> str:
    return shape_of(history.trace(recorded.events, closed=recorded.closed))
