"""Mother: the process that worker processes are forked from: ``python -m dbos_shadow.determinism.durable_mother``.

It has imported what a worker needs, the workflow's module too, and has done nothing else: a worker of it is as fresh as one
that was started by itself, and is there at once. Where a fork would be no good copy (threads that an import has started),
it starts each one by itself.

It inherits a socket (its descriptor is the only argument), over which it is told what to do: a line of JSON each, with the
worker's own line to whoever plays as a descriptor that comes along.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, NoReturn, Self

from dbos_core import failpoints

_MODULE = "dbos_shadow.determinism.durable_mother"
_LINE_BYTES_MAX = 1 << 16
_WITHIN_S = 120.0
_WORDS_MAX = 2_000
_TASKS = Path("/proc/self/task")


class NoMother(RuntimeError):
    """The process from which workers are forked is gone; the message has its last words."""


class Mother:
    """One such process, for as long as the ``with`` block lasts."""

    def __init__(self, module: str, file: str | None, environment: dict[str, str]) -> None:
        """
        Args:
            module: the workflow's.
            file: where that is, if it is no module that can be imported by its name.
            environment: beside what this process has.
        """
        self._order = {"module": module, "file": file, "path": [entry for entry in sys.path if entry]}
        self._environment = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the block)
        self._line, self._its = socket.socketpair()
        self._process: subprocess.Popen[bytes] | None = None
        self._first = True

    def __enter__(self) -> Self:
        self._line.settimeout(_WITHIN_S)
        with self._its as its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(its.fileno())],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=[its.fileno()],
            )
        self._line.sendall(json.dumps(self._order).encode() + b"\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()
        self._words.close()

    async def bear(self, kill: str | None) -> tuple[int, socket.socket]:
        """A new worker process: its id, and the line to it.

        Args:
            kill: failpoints that it is born with.

        Raises:
            NoMother: it cannot be had.
        """
        ours, its = socket.socketpair()
        with its:
            pid = await asyncio.to_thread(self._ask, {"kill": kill or ""}, [its.fileno()])
        return int(pid), ours

    async def bury(self, pid: int) -> int:
        """How a worker ended, as ``subprocess`` has it: minus the signal that killed it. Waits for its end.

        Raises:
            NoMother: nobody knows.
        """
        return int(await asyncio.to_thread(self._ask, {"bury": pid}, []))

    def last_words(self) -> str:
        """What was printed last, by any of them."""
        self._words.seek(0)
        return self._words.read().decode(errors="replace").strip()[-_WORDS_MAX:]

    def _ask(self, what: Any, descriptors: list[int]) -> Any:
        with contextlib.suppress(OSError):
            socket.send_fds(self._line, [json.dumps(what).encode() + b"\n"], descriptors)
            if answer := self._line.recv(_LINE_BYTES_MAX):
                return json.loads(answer)
        raise NoMother(f"worker processes cannot be started. Last words: {self.last_words()}")


# -- the process -------------------------------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Bear workers until whoever asks for them is gone."""
    line = socket.socket(fileno=descriptor)
    order = json.loads(_line(line))
    from dbos_compat import private
    from dbos_shadow.determinism import durable_worker
    from dbos_shadow.determinism.elsewhere import module_at

    module_at(order["module"], order["file"])
    private.install()
    while True:
        text, descriptors, _, _ = socket.recv_fds(line, _LINE_BYTES_MAX, 1)
        if not text:
            return
        told = json.loads(text)
        if "bury" in told:
            line.sendall(json.dumps(_ended(told["bury"])).encode())
            continue
        (its,) = descriptors
        if _alone():
            pid = os.fork()
            if not pid:
                line.close()
                failpoints.arm_from(told["kill"])
                _live(durable_worker, its)
        else:
            pid = _started(order, its, told["kill"])
        os.close(its)
        line.sendall(json.dumps(pid).encode())


def _line(line: socket.socket) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        more = line.recv(1)  # what follows comes with a descriptor
        if not more:
            sys.exit()
        text += more
    return text


def _alone() -> bool:
    """Is there no thread but this one, as far as can be seen? A fork copies one thread only."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return False
    return len(list(_TASKS.iterdir())) == 1


def _live(worker: Any, descriptor: int) -> NoReturn:
    """A worker's life, in the fork."""
    code = 1
    try:
        asyncio.run(worker.main(descriptor))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


_by_themselves: dict[int, subprocess.Popen[bytes]] = {}


def _started(order: Any, descriptor: int, kill: str) -> int:
    """A worker that is no fork."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dbos_shadow.determinism.durable_worker", str(descriptor)],
        env={**os.environ, failpoints.ENVIRONMENT: kill},
        pass_fds=[descriptor],
    )
    _by_themselves[process.pid] = process
    return process.pid


def _ended(pid: int) -> int:
    if pid in _by_themselves:
        return _by_themselves.pop(pid).wait()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever gives the orders hears it, too
    main(int(sys.argv[1]))
