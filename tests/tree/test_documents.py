"""Documents point at things that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.fixtures.process import REPOSITORY
from tests.tree.sources import committed_files, relative

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
TARGET = re.compile(r"^([a-z-]+):.*## \S", re.MULTILINE)
MAKE = re.compile(r"(?:^ {4}|`|\$ )make ([a-z-]+)", re.MULTILINE)

PATH = re.compile(
    r"`((?!benchmarks/results)(?:core|dbos_compat|shadow|tests|examples|benchmarks|migration_guides|docs|\.ci)/[\w/.-]*\w)`"
)

DOCUMENTS = committed_files(".md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_to_files_lead_somewhere(document: Path) -> None:
    links = [
        link for link in LINK.findall(document.read_text()) if "://" not in link and not link.startswith("mailto:")
    ]
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_paths_in_documents_are_there(document: Path) -> None:
    missing = {path for path in PATH.findall(document.read_text()) if not (REPOSITORY / path).exists()}
    inside = {path for path in missing if (REPOSITORY / "dbos_compat" / path).exists()}  # as the import package has it
    assert not missing - inside


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_make_targets_in_documents_exist(document: Path) -> None:
    targets = set(TARGET.findall((REPOSITORY / "Makefile").read_text()))
    assert not set(MAKE.findall(document.read_text())) - targets


def test_every_make_target_is_in_the_help() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony.group(1).split()) == set(TARGET.findall(makefile))


def test_the_changelog_knows_this_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog
