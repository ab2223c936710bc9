"""The stage: a Postgres that goes away afterwards, and the worker process, which is killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from dbos_compat.embedded import EmbeddedPostgres, start_embedded
from examples.checkout.activities import LEDGER_VARIABLE
from examples.checkout.demo.evidence import Ledger

REPOSITORY = Path(__file__).resolve().parents[3]
READY_WITHIN_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.05


class DemoFailed(Exception):
    """Something on the stage broke; the message says what."""


class Stage:
    """Everything that must be cleared away in the end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dbos-compat-demo-"))
        self.ledger = Ledger(self.folder / "ledger.jsonl")
        self.postgres: EmbeddedPostgres | None = None
        self.worker: asyncio.subprocess.Process | None = None
        self._log = self.folder / "worker.log"

    async def __aenter__(self) -> Self:
        self.postgres = await asyncio.to_thread(start_embedded, self.folder / "postgres")
        # What `engine.py` looks at. This process connects as the worker does.
        os.environ.pop("TEMPORAL_ADDRESS", None)
        os.environ["DBOS_SYSTEM_DATABASE_URL"] = self.postgres.url
        os.environ[LEDGER_VARIABLE] = str(self.ledger.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.worker is not None and self.worker.returncode is None:
            self.worker.kill()
            await self.worker.wait()
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.stop, "immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        assert self.postgres is not None
        return self.postgres.url

    async def start_worker(self) -> int:
        """Start ``python -m examples.checkout.worker`` and wait until it says that it is ready."""
        with self._log.open("ab") as log:
            position = log.tell()
            self.worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "examples.checkout.worker",
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(self._import_folders()), "PYTHONUNBUFFERED": "1"},
            )

        def ready() -> bool:
            assert self.worker is not None
            if self.worker.returncode is not None:
                raise DemoFailed(f"the worker ended by itself. It said:\n{self._log.read_text(errors='replace')}")
            return b"worker ready" in self._log.read_bytes()[position:]

        await self.until(ready, "the worker is ready", within=READY_WITHIN_SECONDS)
        return self.worker.pid

    async def kill_worker(self) -> int:
        """SIGKILL: nothing is flushed, closed or said. Returns the exit status."""
        assert self.worker is not None
        self.worker.kill()
        return await self.worker.wait()

    async def end_worker(self) -> int:
        """SIGTERM, the polite end. Returns the exit status."""
        assert self.worker is not None
        self.worker.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.worker.wait(), READY_WITHIN_SECONDS)

    async def until(self, fact: Callable[[], bool], what: str, *, within: float) -> float:
        """Wait for a fact; returns how long it took."""
        began = time.monotonic()
        while not fact():
            if time.monotonic() - began > within:
                said = self._log.read_text(errors="replace") if self._log.exists() else ""
                raise DemoFailed(f"not within {within:g} s: {what}. The worker said:\n{said}")
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return time.monotonic() - began

    @staticmethod
    def _import_folders() -> Iterator[str]:
        """The worker imports what this process imports, also from a checkout that is not installed."""
        yield str(REPOSITORY)
        with contextlib.suppress(KeyError):
            yield os.environ["PYTHONPATH"]
