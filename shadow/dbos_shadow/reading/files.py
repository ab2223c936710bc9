"""Files → ``Recorded``.

What is understood, each also gzipped (``.gz``):

=====================================  =====================================================================================
``.json``                              ``temporal workflow show --output json``, the UI's download, ``WorkflowHistory.to_json``,
                                       our own ``shadow export``; also a bare list of events, and Temporal Cloud's
                                       export as JSON (``{"items": [{"history": …}]}``)
``.jsonl``                             one event per line (``--output jsonl``), or one such JSON history per line
``.pb``, ``.binpb``, ``.proto``        Temporal Cloud's history export: a message ``temporal.api.export.v1.WorkflowExecutions``;
                                       many runs in a file, read one by one. In a folder, files without a suffix as well
=====================================  =====================================================================================

What cannot be read is told as ``Unreadable``, never passed over: a run that nobody could look at is not a match.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote

from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError
from temporalio.api.export.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from dbos_core.errors import Theirs
from dbos_shadow.recorded import Recorded
from dbos_shadow.resets import run_id_of

__all__ = ["NoHistories", "Unreadable", "find", "read"]

_JSON = frozenset({".json", ".jsonl"})
_PROTO = frozenset({".pb", ".binpb", ".proto", ""})
RUN_BYTES_MAX = 256 * 1024 * 1024
"""Temporal ends a history at 50 MiB; whatever says that it is longer than this is not one."""


class NoHistories(Theirs):
    """There is no history where one was looked for."""

    code = "DC401"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Something that should have been a history."""

    workflow_id: str
    """As the file's name says it."""
    source: str
    note: str
    """What is wrong with it; no payloads."""


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The files of histories among files and folders (with all folders inside), sorted, each once.

    Raises:
        NoHistories: a path does not exist, or a folder holds none.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and _is_history(file))
            if not inside:
                raise NoHistories(
                    f"In the folder {path} there is no history (.json, .jsonl, .pb, .binpb or .proto, gzipped or not). "
                    "Write some with `temporal workflow show --output json` or `dbos-compat shadow export`."
                )
            found |= dict.fromkeys(inside)
        elif path.is_file():
            found[path] = None
        else:
            raise NoHistories(f"There is no file or folder {path}.")
    return list(found)


def read(path: Path) -> Iterator[Recorded | Unreadable]:
    """The runs in a file, one by one; the file is open meanwhile.

    Raises:
        OSError: the file cannot be opened.
    """
    with _opened(path) as file:
        try:
            yield from _proto(path, file) if _suffix(path) in _PROTO else _json(path, file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield _unreadable(path, f"It is not gzip, or cut: {error}.")
        except (UnicodeDecodeError, RecursionError) as error:
            yield _unreadable(path, f"It is not a history: {type(error).__name__}.")


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    return path.open("rb")


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def _is_history(path: Path) -> bool:
    """Does a file in a folder look like one? Of files without a suffix only those that begin as an export does."""
    if path.name.startswith("."):
        return False
    if _suffix(path) or path.suffix == ".gz":
        return _suffix(path) in _JSON | _PROTO
    with path.open("rb") as file:
        return file.read(1) == b"\x0a"


def named_after(path: Path, run_id: str = "") -> str:
    """The workflow id by a file's name: what older histories do not say themselves."""
    stem = path.name.removesuffix(".gz")
    stem = Path(stem).stem if _suffix(path) else stem
    return unquote(stem.removesuffix(f" {run_id}") if run_id else stem)


# -- JSON --------------------------------------------------------------------------------------------------------------


def _json(path: Path, file: IO[bytes]) -> Iterator[Recorded | Unreadable]:
    if _suffix(path) == ".jsonl":
        yield from _lines(path, file)
        return
    text = file.read()
    try:
        document = json.loads(text)
    except ValueError as error:
        yield _unreadable(path, f"It is not JSON; was the export cut? {error}")
        return
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        for number, item in enumerate(document["items"], 1):
            yield _history(path, f"#{number}", item)
        if not document["items"]:
            yield _unreadable(path, "It is empty.")
        return
    # Text is read quicker than what was made of it: that would be copied first.
    plain = isinstance(document, dict) and "history" not in document
    yield _history(path, "", document, text.decode() if plain else None)


def _lines(path: Path, file: IO[bytes]) -> Iterator[Recorded | Unreadable]:
    events: list[Any] = []
    is_empty = True
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        is_empty = False
        try:
            document = json.loads(line)
        except ValueError as error:
            yield _unreadable(path, f"Line {number} is not JSON; was the export cut? {error}", f"#{number}")
            continue
        if isinstance(document, dict) and "eventId" in document:
            events.append(document)
        else:
            yield _history(path, f"#{number}", document)
    if events:
        yield _history(path, "", events)
    if is_empty:
        yield _unreadable(path, "It is empty.")


def _history(path: Path, place: str, document: object, text: str | None = None) -> Recorded | Unreadable:
    if isinstance(document, list):
        document = {"events": document}
    if isinstance(document, dict) and isinstance(document.get("history"), dict):
        document = document["history"]
    if not isinstance(document, dict) or not isinstance(document.get("events"), list):
        return _unreadable(path, 'This JSON is not a history: it has no list of "events".', place)
    try:
        history = WorkflowHistory.from_json("", text or json.dumps({"events": document["events"]}))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return _unreadable(path, f"This JSON is not a history as Temporal exports it: {type(error).__name__}.", place)
    except ParseError as error:
        if _is_decoded(document):
            return _unreadable(path, _DECODED, place)
        return _unreadable(path, f"An event is not one that this version knows: {_before_values(error)}", place)
    return _recorded(path, place, history.events)


_DECODED = (
    "Its payloads were decoded when it was written, and nobody can tell any more what they were. In the UI, download it without "
    "decoding; or write it with `temporal workflow show --output json`."
)


def _is_decoded(document: object) -> bool:
    """Is there a list of payloads in it that are values, as the UI shows them?"""
    if isinstance(document, list):
        return any(map(_is_decoded, document))
    if not isinstance(document, dict):
        return False
    payloads = document.get("payloads")
    if isinstance(payloads, list) and not all(map(_is_payload, payloads)):
        return True
    return any(map(_is_decoded, document.values()))


def _is_payload(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("data", ""), str)


def _before_values(error: ParseError) -> str:
    """A parser's message up to where it may quote what it parsed."""
    return str(error).partition(":")[0].partition('"')[0].strip() + "."


# -- Temporal Cloud's export -------------------------------------------------------------------------------------------


def _proto(path: Path, file: IO[bytes]) -> Iterator[Recorded | Unreadable]:
    """``WorkflowExecutions`` is a list of messages: each is read alone, so that a file may be larger than memory."""
    number = 0
    try:
        while (tag := _varint(file)) is not None:
            field, wire_type = tag >> 3, tag & 7
            if wire_type != 2:
                raise ValueError("it has fields that no export has")
            data = _exactly(file, _varint(file))
            if field != 1:
                continue  # exported activities that belong to no workflow
            number += 1
            execution = WorkflowExecution.FromString(data)
            yield _recorded(path, f"#{number}", execution.history.events)
    except (ValueError, DecodeError) as error:
        yield _unreadable(
            path, f"It is not a Temporal Cloud export, or cut after {number} runs: {error}", f"#{number + 1}"
        )
        return
    if number == 0:
        yield _unreadable(path, "It is empty.")


def _varint(file: IO[bytes]) -> int | None:
    """A number; None: the file ends here."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            if shift:
                raise ValueError("it ends inside of a number")
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number is too long")


def _exactly(file: IO[bytes], size: int | None) -> bytes:
    if size is None or size > RUN_BYTES_MAX:
        raise ValueError("a run's length makes no sense")
    data = file.read(size)
    if len(data) != size:
        raise ValueError("it ends inside of a run")
    return data


# -- both --------------------------------------------------------------------------------------------------------------


def _recorded(path: Path, place: str, events: Sequence[HistoryEvent]) -> Recorded | Unreadable:
    if not events:
        return _unreadable(path, "The history has no events.", place)
    started = events[0].workflow_execution_started_event_attributes
    run_id = run_id_of(events)
    return Recorded(
        workflow_id=started.workflow_id or named_after(path, run_id),
        run_id=run_id,
        workflow_type=started.workflow_type.name,
        events=events,
        source=f"file:{path}{place}",
    )


def _unreadable(path: Path, note: str, place: str = "") -> Unreadable:
    return Unreadable(workflow_id=named_after(path), source=f"file:{path}{place}", note=f"{path}{place}: {note}")
