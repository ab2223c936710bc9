"""The quicker sandbox behaves as temporalio's own does."""

from __future__ import annotations

import builtins
import datetime
import importlib
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from temporalio.worker.workflow_sandbox import SandboxRestrictions, _importer, _restrictions

from dbos_compat import private, private_sandbox


@pytest.fixture(autouse=True)
def installed() -> None:
    private.install()


def make_importer(*passthrough: str) -> _importer.Importer:
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*passthrough)
    return _importer.Importer(restrictions, _restrictions.RestrictionContext())


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module file that a sandbox can import as ``counted``."""
    path = tmp_path / "counted.py"
    path.write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return path


def test_every_name_is_where_we_look_for_it() -> None:
    missing = [name for owner, name in private_sandbox._NAMES if not hasattr(owner, name)]
    assert not missing
    with make_importer().applied() as nothing:
        assert nothing is None
    assert isinstance(make_importer().applied(), private_sandbox._Applied)


def test_what_is_overridden_comes_back() -> None:
    before = (sys.modules, builtins.__import__, builtins.isinstance, builtins.issubclass, builtins.open)
    importer = make_importer()
    with importer.applied():
        assert sys.modules is not before[0]
        assert builtins.open is not before[4]
        assert _importer.Importer.current_importer() is importer
    assert _importer.Importer.current_importer() is None
    after = (sys.modules, builtins.__import__, builtins.isinstance, builtins.issubclass, builtins.open)
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_it_comes_back_after_an_error_too() -> None:
    before = builtins.__import__
    with pytest.raises(ZeroDivisionError), make_importer().applied():
        1 / 0  # noqa: B018
    assert builtins.__import__ is before


def test_one_sandbox_inside_another() -> None:
    outer, inner = make_importer(), make_importer()
    with outer.applied():
        seen = sys.modules["sys"], _importer.Importer.current_importer()
        with inner.applied():
            assert _importer.Importer.current_importer() is inner
        assert (sys.modules["sys"], _importer.Importer.current_importer()) == seen
        assert seen[1] is outer


def test_other_threads_see_none_of_it() -> None:
    importer = make_importer()
    found: list[object] = []

    def look() -> None:
        found.append(_importer.Importer.current_importer())
        found.append(isinstance(1, int))
        found.append("pytest" in sys.modules)
        with open(os.devnull) as file:
            found.append(file.name)

    with importer.applied():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == [None, True, True, os.devnull]


def test_isinstance_looks_through_a_proxy() -> None:
    context = _restrictions.RestrictionContext()
    matcher = SandboxRestrictions.invalid_module_members_default.child_matcher("datetime")
    assert matcher is not None

    proxied = _restrictions.RestrictedModule(datetime, context, matcher)
    importer = make_importer()
    with importer.applied():
        restricted = proxied.date
        assert isinstance(datetime.date(2026, 1, 1), restricted)
        assert issubclass(datetime.datetime, restricted)
        assert not isinstance("text", restricted)


def test_a_forbidden_builtin_stays_forbidden() -> None:
    importer = make_importer()
    importer.restriction_context.is_runtime = True
    with importer.applied(), pytest.raises(_restrictions.RestrictedWorkflowAccessError, match="open"):
        open(os.devnull)  # noqa: SIM115


def test_each_sandbox_runs_the_module_anew(module: Path) -> None:
    modules = []
    for _ in range(2):
        importer = make_importer()
        with importer.applied():
            modules.append(importlib.__import__("counted"))
    assert modules[0] is not modules[1]
    setattr(modules[0], "VALUE", 2)  # noqa: B010
    assert vars(modules[1])["VALUE"] == 1
    assert "counted" not in sys.modules


def test_an_edited_module_is_read_again(module: Path) -> None:
    with make_importer().applied():
        assert importlib.__import__("counted").VALUE == 1
    module.write_text("VALUE = 'another'\n")
    later = time.time() + 10
    os.utime(module, (later, later))
    with make_importer().applied():
        assert importlib.__import__("counted").VALUE == "another"


def test_outside_of_a_sandbox_the_finder_finds_nothing(module: Path) -> None:
    [finder] = [finder for finder in sys.meta_path if isinstance(finder, private_sandbox._ModulesOfWorkflows)]
    assert finder.find_spec("counted", None) is None
    with make_importer().applied():
        spec = finder.find_spec("counted", None)
    assert spec is not None
    assert spec.origin == str(module)


def test_a_module_that_is_nowhere_raises_as_ever() -> None:
    with make_importer().applied(), pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        importlib.__import__("nowhere_at_all")
