"""The way back, walked: pages whose code is Temporal's alone do the same on a Temporal server, with one line changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.snippets import snippets
from tests.docs.test_snippets import Reader
from tests.fixtures.process import REPOSITORY

PAGES = (
    "activities",
    "child-workflows",
    "data",
    "local-activities",
    "messages",
    "run-chains",
    "starting",
    "workers",
)
"""Without ``schedules``: a server takes what is said to a schedule up a moment later and lists it later still, so that each
line would have to wait. tests/compat does so, on both."""


CONNECT = '''
import os

from temporalio.client import Client


async def connect(**options):
    return await Client.connect(os.environ["TEMPORAL_ADDRESS"], **options)


async def disconnect(client):
    """A client of a server has nothing to close."""
'''
"""Stands in for ``dbos_compat``: ``connect()`` is what it was before."""


class ReaderOnTemporal(Reader):
    """Follows a page as ever, on a server."""

    block_options = ("--at-once",)

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(folder, url="")
        (folder / "dbos_compat.py").write_text(CONNECT)
        self._env |= {"TEMPORAL_ADDRESS": address, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}


@pytest.mark.temporal
@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_the_same_on_temporal(page: str, tmp_path: Path, temporal_address: str) -> None:
    reader = ReaderOnTemporal(tmp_path, temporal_address)
    for block in snippets(REPOSITORY / "migration_guides" / f"{page}.md"):
        if block.skip is None and not block.ours:
            try:
                reader.follow(block)
            except AssertionError as error:
                raise AssertionError(f"{page}.md, line {block.line}: {error}") from error
