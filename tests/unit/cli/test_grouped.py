"""Groups of options: what typer makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from dbos_compat.cli.grouped import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--width")]
    height: Annotated[int, typer.Option("--height", "-h")] = 2


@dataclass(frozen=True)
class Look:
    colour: Annotated[str, typer.Option("--colour")] = "red"
    size: Size = Size(width=7)
    tags: Annotated[list[str] | None, typer.Option("--tag")] = None


def called(command: Any, *words: str) -> Any:
    """What a command is called with, or what typer says."""
    app = typer.Typer()
    app.command()(command)
    answer = CliRunner().invoke(app, [*words])
    assert answer.exit_code == 0, answer.output
    return answer.output.strip()


def test_a_group_is_its_fields_and_comes_back_as_one() -> None:
    @grouped
    def command(name: str, *, size: Size, loud: bool = False) -> None:
        typer.echo((name, size, loud))

    assert called(command, "box", "--width", "3", "--loud") == str(("box", Size(3, 2), True))
    assert called(command, "box", "--width", "3", "-h", "4") == str(("box", Size(3, 4), False))


def test_groups_are_nested() -> None:
    @grouped
    def command(*, look: Look) -> None:
        typer.echo(look)

    assert called(command) == str(Look())
    assert called(command, "--width", "1", "--tag", "a", "--tag", "b") == str(Look(size=Size(1, 2), tags=["a", "b"]))


def test_defaults_of_a_command_go_before_those_of_the_group() -> None:
    big = Look(colour="blue", size=Size(width=100))

    @grouped
    def command(*, look: Look = big) -> None:
        typer.echo(look)

    assert called(command) == str(big)
    assert called(command, "--height", "9") == str(Look(colour="blue", size=Size(100, 9)))


def test_what_a_group_requires_the_command_requires() -> None:
    @grouped
    def command(*, size: Size) -> None: ...

    app = typer.Typer()
    app.command()(command)
    answer = CliRunner().invoke(app, [])
    assert answer.exit_code == 2
    assert "--width" in answer.output


def test_two_options_of_one_name_are_refused() -> None:
    def command(*, size: Size, width: int = 1) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'width'"):
        grouped(command)
