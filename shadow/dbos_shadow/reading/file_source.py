"""FileSource: runs in files, as a campaign wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from dbos_compat.convert.times import timestamp_ms
from dbos_shadow.reading import files
from dbos_shadow.reading.files import Unreadable
from dbos_shadow.recorded import Recorded, digest_of
from dbos_shadow.select import Candidate, Selection, shape_of
from dbos_shadow.sources import history
from dbos_shadow.trace import Status

__all__ = ["FileSource", "Finder", "candidate_of"]

_CLOSED = {
    f"workflow_execution_{status.value}_event_attributes": status.value
    for status in Status
    if status not in (Status.RUNNING, Status.UNKNOWN)
}


class Finder:
    """Finds runs in files again. Whoever asks for them in the order of the files has each file read once."""

    def __init__(self) -> None:
        self._open: tuple[Path, Iterator[Recorded | Unreadable]] | None = None

    def find(self, path: Path, source: str) -> Recorded | Unreadable | None:
        """The run of this source (``Recorded.source``). None: the file does not have it any more.

        Raises:
            OSError: the file cannot be opened.
        """
        for _ in range(2):
            if self._open is None or self._open[0] != path:
                self._open = (path, files.read(path))
            for found in self._open[1]:
                if found.source == source:
                    return found
            self._open = None  # it lies before the place where we were
        return None


class FileSource:
    """Histories in files. Each file is opened once to see what is in it, and once more for what was picked of it; where
    everything is picked, once."""

    concurrency = 1

    def __init__(self, paths: Sequence[str | Path]) -> None:
        """
        Args:
            paths: files, and folders to be searched.

        Raises:
            NoHistories: there is none.
        """
        self.paths = files.find(paths)
        self._last: Recorded | Unreadable | None = None
        self._finder = Finder()

    async def candidates(self, selection: Selection) -> AsyncIterator[Candidate | Unreadable]:
        """What the selection wants, sampling aside, in the order of the files, and what cannot be read.

        Raises:
            OSError: a file cannot be opened.
        """
        place = 0
        for path in self.paths:
            for found in files.read(path):
                self._last = found
                place += 1
                if isinstance(found, Unreadable):
                    yield found
                    continue
                candidate = candidate_of(found, path, place, with_shape=not selection.takes_all)
                if selection.takes(candidate):
                    yield candidate

    async def read(self, candidate: Candidate) -> Recorded | Unreadable | None:
        """A run's history. None: its file does not have it any more.

        Raises:
            OSError: the file cannot be opened.
        """
        last = self._last
        if last is not None and last.source == _source(candidate):
            return last
        return self._finder.find(Path(candidate.where.partition("\n")[0]), _source(candidate))


def _source(candidate: Candidate) -> str:
    return candidate.where.partition("\n")[2]


def candidate_of(found: Recorded, path: Path, place: int, *, with_shape: bool) -> Candidate:
    """What a selection may ask of a history that was read."""
    last = found.events[-1]
    status = _CLOSED.get(last.WhichOneof("attributes") or "", Status.RUNNING.value)
    return Candidate(
        workflow_id=found.workflow_id,
        run_id=found.run_id,
        workflow_type=found.workflow_type,
        status=status,
        start_ms=timestamp_ms(found.events[0].event_time),
        close_ms=0 if status == Status.RUNNING.value else timestamp_ms(last.event_time),
        events=len(found.events),
        shape=shape_of(history.trace(found.events)) if with_shape else "",
        digest=digest_of(found.events),
        where=f"{path}\n{found.source}",
        place=place,
    )
