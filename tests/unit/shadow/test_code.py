"""The hash of the code: another one after each change that may change a verdict, and no other."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker import UnsandboxedWorkflowRunner

import dbos_shadow.code
from dbos_shadow.campaign import config_hash
from dbos_shadow.code import code_hash, name_of, versions
from dbos_shadow.judging import How, code_settings
from dbos_shadow.verdict import Way


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package with a workflow, and another one beside it with what it uses."""
    for name in ("shop_of_this_test", "prices_of_this_test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "prices_of_this_test" / "rules.py").write_text("VAT = 19\n")
    (tmp_path / "shop_of_this_test" / "orders.py").write_text(
        "import pydantic\nfrom prices_of_this_test import rules\n\nclass Order: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop_of_this_test.orders")
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_of_this_test")]:
        del sys.modules[name]


def test_what_a_workflow_uses_counts_wherever_it_lies(shop: ModuleType) -> None:
    before = code_hash()
    assert code_hash() == before
    Path(shop.rules.__file__).write_text("VAT = 7\n")
    assert code_hash() != before


def test_what_is_installed_counts_by_its_version(shop: ModuleType) -> None:
    assert versions()["pydantic"] == metadata.version("pydantic")
    assert versions()["temporalio"] == metadata.version("temporalio")


def test_how_much_of_it_or_of_us_is_loaded_does_not(shop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that replays files and one that reads a namespace load different parts of it."""
    before = code_hash()
    for name, folder in (("temporalio", "client"), ("dbos_shadow", "report")):
        late = ModuleType(f"{name}.loaded_late")
        late.__file__ = str(Path(sys.modules[name].__path__[0]) / folder / "__init__.py")
        monkeypatch.setitem(sys.modules, late.__name__, late)
    assert code_hash() == before


def test_from_a_checkout_our_own_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_hash()
    (tmp_path / "kernel.py").write_text("x = 1\n")
    monkeypatch.setattr(dbos_shadow.code, "_our_folders", lambda: [tmp_path])
    once = code_hash()
    (tmp_path / "kernel.py").write_text("x = 2\n")
    assert len({before, once, code_hash()}) == 3


class Codec(PayloadCodec):
    """Stands for one with a key."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


def settings(converter: DataConverter = DataConverter.default, how: How | None = None, **options: Any) -> str:
    return config_hash(code_settings([], converter, options, how or How(way=Way.FREE_RUN)))


def test_options_count_by_what_they_are() -> None:
    def one() -> None: ...
    def two() -> None: ...

    coded = dataclasses.replace(DataConverter.default, payload_codec=Codec())
    every = [
        settings(),
        settings(coded),
        settings(workflow_failure_exception_types=[]),
        settings(workflow_failure_exception_types=[ValueError]),
        settings(workflow_failure_exception_types=[ValueError, KeyError]),
        settings(workflow_runner=UnsandboxedWorkflowRunner()),
        settings(max_cached_workflows=1),
        settings(max_cached_workflows=2),
        settings(how=How(way=Way.FREE_RUN, stubs={"mail": one})),
        settings(how=How(way=Way.FREE_RUN, stubs={"mail": two})),
        settings(how=How(way=Way.FREE_RUN, stubs={"mail": {"a": 1}})),
    ]
    assert len(set(every)) == len(every)
    assert settings(workflow_runner=UnsandboxedWorkflowRunner()) == every[5], "by its type, not by its address"
    assert name_of({timedelta}) == ["datetime:timedelta"]
    assert name_of(timedelta(seconds=1)) != name_of(timedelta(seconds=2))
