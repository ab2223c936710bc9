"""The hash of the code: another one after each change that may change a verdict, and no other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from temporalio.converter import DataConverter

from dbos_shadow.code import code_hash


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package with a workflow and what it uses."""
    folder = tmp_path / "shop_of_this_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "prices.py").write_text("VAT = 19\n")
    (folder / "orders.py").write_text("from shop_of_this_test import prices\n\nclass Order: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop_of_this_test.orders")
    for name in [name for name in sys.modules if name.startswith("shop_of_this_test")]:
        del sys.modules[name]


def test_what_a_workflow_uses_counts(shop: ModuleType) -> None:
    before = code_hash([shop.Order])
    assert code_hash([shop.Order]) == before
    Path(shop.prices.__file__).write_text("VAT = 7\n")
    assert code_hash([shop.Order]) != before


def test_how_much_of_the_sdk_is_loaded_does_not(shop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that replays files and one that reads a namespace load different parts of it."""
    before = code_hash([shop.Order, DataConverter])
    late = ModuleType("temporalio.loaded_late")
    late.__file__ = str(Path(sys.modules["temporalio"].__path__[0]) / "client" / "__init__.py")
    monkeypatch.setitem(sys.modules, late.__name__, late)
    assert code_hash([shop.Order, DataConverter]) == before
