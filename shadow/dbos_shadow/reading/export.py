"""Export: runs of a live namespace → a folder of JSON files, which ``files`` and Temporal's own ``Replayer`` read.

Payloads are written as the server has them: what a codec has encrypted stays encrypted. There is no export with the payloads
replaced by hashes: a workflow decides by what is in its payloads, so that its replay would go another way than it went.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from urllib.parse import quote

from temporalio.client import WorkflowHistory

from dbos_shadow.recorded import Recorded
from dbos_shadow.select import Candidate

__all__ = ["path_of", "write"]

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
