"""The Postgres servers of a run, all with the same durable settings.

One embedded server carries every contender that runs on it. An engine that needs contrib extensions, which the
embedded server does not ship, gets a private cluster from the system's own Postgres, or the server named by
``DBOS_BENCH_CONTRIB_POSTGRES_URL``, and the results say so.
"""

import asyncio
import os
import pwd
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import psutil

from benchmarks.environments import CACHE
from dbos_compat.embedded import EmbeddedPostgres

CONTRIB_URL_VARIABLE = "DBOS_BENCH_CONTRIB_POSTGRES_URL"

SETTINGS = {
    # Durable: a commit returns when its write-ahead log is on disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Room for 128 slots with a connection each, and no checkpoint in the middle of a window (the benchmark makes
    # one before each visit); the log of a whole visit is kept, so that its commit records can be counted.
    "max_connections": "400",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "wal_keep_size": "2GB",
    "checkpoint_timeout": "1h",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] db=%d ",
}


class ServerUnavailable(RuntimeError):
    """A server that a contender needs is not here; the message is the reason shown in the results."""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server, how to reach its databases, and what can be measured about it."""

    label: str
    base_url: str
    data_dir: Path | None = None
    """Where its log and write-ahead log can be read; None for a server that is not ours."""
    bin_dir: Path | None = None
    system_user: str | None = None
    log: Path | None = None
    embedded: EmbeddedPostgres | None = None
    """The handle of the embedded server, by which it is stopped."""

    def url(self, database: str) -> str:
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(path=f"/{database}"))

    async def connect(self, database: str = "postgres") -> "asyncpg.Connection[Any]":
        return await asyncpg.connect(self.url(database))

    def cpu_seconds(self) -> float | None:
        """CPU time of all its processes so far, those that ended included."""
        if self.data_dir is None:
            return None
        postmaster = int((self.data_dir / "postmaster.pid").read_text().splitlines()[0])
        return tree_cpu_seconds(postmaster)

    async def fresh_database(self, database: str) -> str:
        """Drop this database if it is there, create it, and return its URL."""
        connection = await self.connect()
        try:
            await connection.execute(f'drop database if exists "{database}" with (force)')
            await connection.execute(f'create database "{database}"')
        finally:
            await connection.close()
        return self.url(database)

    async def drop_database(self, database: str) -> None:
        connection = await self.connect()
        try:
            await connection.execute(f'drop database if exists "{database}" with (force)')
        finally:
            await connection.close()

    async def describe(self) -> dict[str, str]:
        """What a reader of the results has to know about this server."""
        connection = await self.connect()
        try:
            names = ("server_version", "fsync", "synchronous_commit", "wal_sync_method", "max_connections")
            return {"label": self.label} | {
                name: str(await connection.fetchval("select current_setting($1)", name)) for name in names
            }
        finally:
            await connection.close()

    async def has_extension(self, name: str) -> bool:
        connection = await self.connect()
        try:
            return bool(
                await connection.fetchval("select exists (select 1 from pg_available_extensions where name = $1)", name)
            )
        finally:
            await connection.close()

    async def stop(self) -> None:
        """Stop the server and delete its data, if it is ours."""
        if self.embedded is not None:
            await asyncio.to_thread(self.embedded.stop)
            shutil.rmtree(self.embedded.data_dir, ignore_errors=True)
            return
        if self.data_dir is None or self.bin_dir is None:
            return
        await pg_command(
            self.bin_dir, "pg_ctl", "-w", "-m", "fast", "-D", str(self.data_dir), "stop", user=self.system_user
        )
        shutil.rmtree(self.data_dir, ignore_errors=True)


def tree_cpu_seconds(root_pid: int) -> float:
    """CPU time of a process, of its children, and of the children that it has already reaped."""
    total = 0.0
    try:
        root = psutil.Process(root_pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return total
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _new_data_dir(kind: str) -> Path:
    CACHE.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=CACHE))


async def start_embedded() -> Postgres:
    """The one server of the run: the Postgres from the wheel, on the disk of the checkout."""
    server = EmbeddedPostgres(_new_data_dir("postgres"), settings=SETTINGS)
    await asyncio.to_thread(server.start)
    return Postgres(
        label="embedded PostgreSQL",
        base_url=server.database_url("postgres"),
        data_dir=server.cluster_dir,
        bin_dir=server.bin_dir,
        log=server.log_file,
        embedded=server,
    )


async def start_with_contrib(extension: str, embedded: Postgres) -> Postgres:
    """A server that offers this extension: the named one, the embedded one, or the system's own binaries."""
    if named := os.environ.get(CONTRIB_URL_VARIABLE):
        server = Postgres(label=f"the server of {CONTRIB_URL_VARIABLE}", base_url=named)
        if not await server.has_extension(extension):
            raise ServerUnavailable(f"the server of {CONTRIB_URL_VARIABLE} has no extension {extension}")
        return server
    if await embedded.has_extension(extension):
        return embedded
    bin_dir = _system_binaries()
    if bin_dir is None:
        raise ServerUnavailable(
            f"needs a Postgres with the extension {extension}; the embedded one has none, and no system Postgres "
            f"was found. Install one (Debian: postgresql), or set {CONTRIB_URL_VARIABLE}."
        )
    return await _start_system(bin_dir)


def _system_binaries() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


async def _start_system(bin_dir: Path) -> Postgres:
    data_dir = _new_data_dir("contrib")
    user = _unprivileged_user() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(data_dir, user)
    await pg_command(
        bin_dir, "initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(data_dir), user=user
    )
    with (data_dir / "postgresql.conf").open("a") as settings:
        settings.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
    # A Unix socket path holds about a hundred bytes, which a data directory may exceed.
    socket_dir = Path(tempfile.mkdtemp(prefix="pg-"))
    socket_dir.chmod(0o777)
    options = f'-h "" -k {socket_dir}'
    await pg_command(
        bin_dir, "pg_ctl", "-w", "-o", options, "-l", str(data_dir / "log"), "-D", str(data_dir), "start", user=user
    )
    return Postgres(
        label="private cluster of the system's PostgreSQL",
        base_url=f"postgresql://postgres:@/postgres?host={quote(str(socket_dir), safe='')}",
        data_dir=data_dir,
        bin_dir=bin_dir,
        system_user=user,
        log=data_dir / "log",
    )


def _unprivileged_user() -> str:
    """Postgres refuses to run as root; use the account that its package made, or any that owns nothing."""
    for name in ("postgres", "pgserver", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ServerUnavailable("the system's Postgres does not run as root, and no unprivileged account was found")


async def pg_command(bin_dir: Path, command: str, *arguments: str, user: str | None = None) -> str:
    """Run one of the server's programs; its output goes through a file, since pg_ctl leaves a child behind."""
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            bin_dir / command, *arguments, stdout=output, stderr=asyncio.subprocess.STDOUT, user=user, cwd="/"
        )
        status = await process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status != 0:
        raise ServerUnavailable(f"`{command} {' '.join(arguments)}` failed with status {status}: {text[-500:]}")
    return text
