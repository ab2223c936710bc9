"""The corpus: recorded once for all tests of a process."""

from __future__ import annotations

import pytest

from tests.shadow.corpus.programs import THEMES
from tests.shadow.corpus.recorder import Played, record


@pytest.fixture(scope="session")
def corpus(temporal_address: str) -> list[Played]:
    """Every scene of every theme, played on the development server."""
    return record(temporal_address, list(THEMES.values()))
