"""Workers by the dozen: processes forked from one that has imported everything, killed a moment later.

A worker started with ``python`` spends half a second of processor time on imports; forked it is ready in a tenth. The
server that forks them has one thread and has opened nothing.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest import mock

from tests.crash.programs import worker
from tests.fixtures.process import IMPORT_FOLDERS, Signalled

LOOK_EVERY_SECONDS = 0.02

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([worker.__name__])


class Worker(Signalled):
    """One worker program; at most one process of it at a time. What it prints is in a file."""

    def __init__(self, name: str, folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self._env = dict(env)
        self._folder = folder
        self._numbers = itertools.count(1)
        self._process: ForkServerProcess | None = None
        self._output = folder / f"{name}.txt"

    @property
    def pid(self) -> int:
        """The process id of the running or last process."""
        pid = self._process.pid if self._process is not None else None
        assert pid is not None, f"{self.name} was never started"
        return pid

    @property
    def running(self) -> bool:
        """Whether the process is there (a frozen one is)."""
        return self._process is not None and self._process.is_alive()

    @property
    def output(self) -> str:
        """What the running or last process printed, standard error included."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def start(self) -> None:
        """Start a process."""
        assert not self.running, f"{self.name} is running already, as process {self.pid}"
        self._output = self._folder / f"{self.name}-{next(self._numbers)}.txt"
        self._process = _context.Process(target=worker.run, args=[self._env, str(self._output)], daemon=True)
        # The server that forks, started by the first of these, finds the modules to import by this alone.
        with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, IMPORT_FOLDERS))):
            self._process.start()

    def wait_for_line(self, pattern: str, *, within: float = 30.0) -> None:
        """Wait until the process has printed a line that contains the regular expression."""
        self._wait(lambda: re.search(pattern, self.output, re.MULTILINE) is not None, within, f"print {pattern!r}")

    def wait(self, *, within: float = 30.0) -> int:
        """Wait for the end; returns the exit status, negative after a signal."""
        assert self._process is not None, f"{self.name} was never started"
        self._process.join(within)
        status = self._process.exitcode
        assert status is not None, f"{self.name} did not end within {within} s. It printed:\n{self.output}"
        return status

    def lives_for(self, seconds: float) -> None:
        """Let it live that long; an assertion error if it ends by itself."""
        assert self._process is not None
        self._process.join(seconds)
        assert self.running, f"{self.name} ended by itself ({self._process.exitcode}). It printed:\n{self.output}"

    def clear_away(self) -> None:
        """End the process, whatever state it is in."""
        if self.running:
            self.kill()

    def _wait(self, fact: Callable[[], bool], within: float, what: str) -> None:
        deadline = time.monotonic() + within
        while not fact():
            assert self.running, f"{self.name} ended and did not {what}. It printed:\n{self.output}"
            assert time.monotonic() < deadline, f"{self.name} did not {what} within {within} s:\n{self.output}"
            time.sleep(LOOK_EVERY_SECONDS)
