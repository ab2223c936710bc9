"""Every menu is sorted, has no name twice, and serves what it lists."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.tree.sources import PACKAGES, module_names


@pytest.fixture(params=sorted(module_names()))
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def test_the_public_names_are_sorted_and_there(module: ModuleType) -> None:
    names = getattr(module, "__all__", None)
    if names is None:
        return
    assert list(names) == sorted(set(names))
    missing = [name for name in names if not hasattr(module, name)]
    assert not missing


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_a_menu_and_says_where_one_is(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__
    assert hasattr(module, "__all__"), f"{package}/__init__.py is the menu: it needs __all__"


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_may_trust_the_package(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").exists()


def test_every_module_says_what_it_is() -> None:
    silent = [name for name in module_names() if not (importlib.import_module(name).__doc__ or "").strip()]
    assert not silent
