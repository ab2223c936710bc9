"""The tour through the code names things that are there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.fixtures.process import REPOSITORY

NAMED = re.compile(r"\[`([\w.]+)`\]\(([\w./]+\.py)\)")
PAGE = "ARCHITECTURE.md"
LINKS = sorted(set(NAMED.findall((REPOSITORY / PAGE).read_text())))


def defined(source: str) -> set[str]:
    """Functions, classes, methods and assigned names of a module, dotted."""
    names = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    visit(ast.parse(source).body, "")
    return names


def test_the_tour_names_enough_to_be_one() -> None:
    assert len(LINKS) > 40


@pytest.mark.parametrize(("name", "path"), LINKS)
def test_what_the_tour_names_is_there(name: str, path: str) -> None:
    file = REPOSITORY / path
    assert file.exists(), f"{PAGE} points at {path}, which is gone"
    if name != file.stem:  # else the module itself is meant
        assert name in defined(file.read_text()), f"{PAGE} says that {name} is in {path}"


def test_a_name_that_is_gone_is_noticed() -> None:
    source = "class Kernel:\n    async def start(self): ...\nTABLE: int = 1\n"
    assert defined(source) == {"Kernel", "Kernel.start", "TABLE"}
