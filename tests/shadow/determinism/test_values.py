"""Values for payloads: of everyday types, at their edges, without those that a type refuses; parameters that have defaults."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import pytest
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator
from temporalio import activity, workflow
from temporalio.contrib.pydantic import pydantic_data_converter

from dbos_shadow.determinism import (
    BadPlan,
    DeterminismError,
    Plan,
    Profile,
    Rule,
    check_workflow,
    from_type,
    inferred,
    plan,
    returns,
    run_schedule,
    sends,
)
from dbos_shadow.determinism.crew import Crew
from dbos_shadow.determinism.edges import HUGE
from dbos_shadow.determinism.stage import Stage
from dbos_shadow.determinism.values import ABSENT, chosen, pool

SOON = timedelta(seconds=10)
FEW = Profile(name="few", schedules=300, seconds=60, hash_seeds=0)
UNICODE = "é\u2028\U0001f600"
T = TypeVar("T")


@dataclass
class Money:
    cents: int

    def __post_init__(self) -> None:
        if self.cents < 0:
            raise ValueError("negative")


@dataclass
class Order:
    id: str
    total: Money
    currency: str = "EUR"

    def __post_init__(self) -> None:
        assert len(self.currency) == 3


class Line(BaseModel):
    sku: str
    count: int
    price: decimal.Decimal = decimal.Decimal(1)

    @field_validator("count")
    @classmethod
    def positive(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("positive")
        return value


class Basket(BaseModel):
    name: str = Field(alias="basket-name")
    lines: list[Line]
    note: str | None = None
    facts: dict[str, Any] = {}


class Coded(BaseModel):
    code: str = Field(pattern=r"^[A-Z]{3}$")


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Boxes(Box[list[Money]]):
    label: str


class Typed(TypedDict):
    name: str
    note: NotRequired[str | None]


class Named(NamedTuple):
    number: int
    name: str


class Email(str):
    __slots__ = ()

    def __new__(cls, text: str) -> Email:
        if "@" not in text:
            raise ValueError(text)
        return super().__new__(cls, text)


class Written:
    """An annotated constructor, and no more."""

    def __init__(self, cents: int) -> None:
        if cents < 0:
            raise ValueError(cents)
        self.cents = cents

    def __repr__(self) -> str:
        return f"Written({self.cents})"


@dataclass
class Tree:
    root: Money
    branches: list[Tree] = field(default_factory=list)


Name = NewType("Name", str)


def all_of(type_: Any) -> list[Any]:
    return pool(from_type(type_), lambda _: True)


REFUSING: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "dataclass": (Money, lambda value: value.cents >= 0),
    "nested, with a default": (Order, lambda value: value.total.cents >= 0 and len(value.currency) == 3),
    "list of optional": (list[Money | None], lambda value: all(one is None or one.cents >= 0 for one in value)),
    "dictionary": (dict[str, Money], lambda value: all(one.cents >= 0 for one in value.values())),
    "model": (Line, lambda value: value.count > 0 and value.price.is_finite()),
    "model, alias, any": (Basket, lambda value: all(line.count > 0 for line in value.lines)),
    "pattern": (Coded, lambda value: len(value.code) == 3),
    "generic": (Box[int], lambda value: isinstance(value.item, int)),
    "generic of refusing": (Box[Money], lambda value: value.item.cents >= 0),
    "derived from generic": (Boxes, lambda value: all(one.cents >= 0 for one in value.item)),
    "text": (Email, lambda value: isinstance(value, Email) and "@" in value),
    "constructor": (Written, lambda value: value.cents >= 0),
    "recursive": (Tree, lambda value: value.root.cents >= 0),
}


@pytest.mark.parametrize("name", REFUSING)
def test_what_a_type_refuses_is_left_out(name: str) -> None:
    type_, holds = REFUSING[name]
    values = all_of(type_)
    assert len(values) > 5
    assert all(holds(value) for value in values)
    assert list(map(repr, values)) == list(map(repr, all_of(type_)))


def test_the_first_value_is_simple() -> None:
    assert all_of(Order)[0] == Order("", Money(0))
    assert all_of(Line)[0] == Line(sku="", count=1)
    assert all_of(Email)[0] == "@"


TEXTS: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "model": (Line, lambda value: value.sku),
    "model in a list": (Basket, lambda value: value.lines[0].sku if len(value.lines) == 1 else None),
    "optional field of a model": (Basket, lambda value: value.note),
    "typed dict": (Typed, lambda value: value["name"]),
    "key that may lack": (Typed, lambda value: value.get("note")),
    "named tuple": (Named, lambda value: value.name),
    "generic": (Box[str], lambda value: value.item),
    "dataclass that refuses": (Order, lambda value: value.id),
    "new type": (Name, lambda value: value),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_empty_huge_and_odd(name: str) -> None:
    type_, text = TEXTS[name]
    found = [text(value) for value in all_of(type_)]
    assert {"", UNICODE, "x" * HUGE} <= set(found)


def test_what_may_be_none_or_lack_is() -> None:
    assert any(value.note is None for value in all_of(Basket))
    values = all_of(Typed)
    assert any("note" not in value for value in values)
    assert any(value.get("note", "") is None for value in values)


# -- where there are none --------------------------------------------------------------------------------------------------


class Odd:
    def __init__(self, what) -> None:
        self.what = what


@activity.defn
async def find(cents: int) -> Odd:
    return Odd(cents)


@workflow.defn
class TakesOdd:
    @workflow.run
    async def run(self, odd: Odd) -> None: ...

    @workflow.signal
    def hear(self, what: Odd) -> None: ...


@workflow.defn
class Finds:
    @workflow.run
    async def run(self, cents: int) -> None:
        await workflow.execute_activity(find, cents, start_to_close_timeout=SOON)


NONE: dict[str, tuple[Callable[[], Plan], str]] = {
    "run": (lambda: plan(TakesOdd, sandboxed=False), r"'TakesOdd'.*parameter 'odd' of run.*Odd.*args="),
    "signal": (
        lambda: plan(TakesOdd, args=1, signals=[TakesOdd.hear], sandboxed=False),
        r"'TakesOdd'.*parameter 'what' of signal hear.*sends\(",
    ),
    "a constant": (
        lambda: plan(TakesOdd, args=1, signals=[sends(TakesOdd.hear, object())], sandboxed=False),
        r"parameter 'what' of signal hear.*data converter.*not JSON serializable",
    ),
    "a strategy that fails": (
        lambda: plan(TakesOdd, args=st.builds(Money, st.just(-1)), sandboxed=False),
        r"parameter 'odd' of run.*ValueError: negative",
    ),
    "an activity, inferred": (
        lambda: inferred(Finds, sandboxed=False),
        r"'Finds'.*activity 'find'.*activities=\{\"find\": returns",
    ),
    "an activity's constant": (
        lambda: plan(Finds, activities={find: returns(object())}, sandboxed=False),
        r"activity 'find'.*not JSON serializable.*activities=",
    ),
    "a child": (
        lambda: plan(Finds, activities={find: returns()}, children={"other": returns(from_type(Odd))}, sandboxed=False),
        r"child 'other'.*children=",
    ),
    "a fallback": (
        lambda: plan(Finds, fallback=lambda name: 5, sandboxed=False),  # type: ignore[arg-type,return-value]
        r"fallback\('find'\) is 5.*returns\(5\)",
    ),
}


@pytest.mark.parametrize("name", NONE)
def test_one_error_says_for_what_there_are_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Stage] = []
    begin, close = Stage.__init__, Stage.close

    def begins(stage: Stage, *args: Any, **options: Any) -> None:
        begin(stage, *args, **options)
        opened.append(stage)

    def closes(stage: Stage) -> None:
        close(stage)
        opened.remove(stage)

    monkeypatch.setattr(Stage, "__init__", begins)
    monkeypatch.setattr(Stage, "close", closes)
    made, what = NONE[name]
    with pytest.raises(BadPlan, match=what) as caught:
        run_schedule(made(), [])
    assert caught.value.__cause__ is None
    assert not opened


@workflow.defn
class Weighs:
    @workflow.run
    async def run(self, grams: decimal.Decimal) -> None: ...


def test_what_the_data_converter_cannot_read_again_is_left_out() -> None:
    crew = Crew(plan(Weighs, client_options={"data_converter": pydantic_data_converter}, sandboxed=False))
    crew.close()
    (values,) = crew.args
    assert len(values) > 5
    assert all(value.is_finite() for value in values)


# -- parameters with defaults ------------------------------------------------------------------------------------------------


@workflow.defn
class Shouts:
    """Its caller may say what, and how loud; nobody says None on a plain day."""

    def __init__(self) -> None:
        self.heard = "x"

    @workflow.run
    async def run(self, what: str, louder: str | None = "!", times: int = 1, odd: Odd | int = 3) -> str:
        await workflow.sleep(1)
        return what + louder * times  # type: ignore[operator]

    @workflow.signal
    def hear(self, what: str | None = "x") -> None:
        self.heard = what.upper()  # type: ignore[union-attr]


def test_a_parameter_with_a_default_is_left_out_or_given() -> None:
    crew = Crew(plan(Shouts, signals=[Shouts.hear], sandboxed=False))
    crew.close()
    assert [values[0] for values in crew.args] == ["", ABSENT, ABSENT, ABSENT]
    assert [values[0] for values in crew.message_args["signal hear"]] == [ABSENT]
    assert None in crew.args[1]
    assert chosen(crew.args, lambda _: 0) == [""]


def test_nothing_is_given_after_what_is_left_out() -> None:
    asked: list[int] = []

    def choose(count: int) -> int:
        asked.append(count)
        return 1 if len(asked) < 2 else 0

    assert chosen([["a", "b"], [ABSENT, 1], [ABSENT, 2, 3]], choose) == ["b"]
    assert asked == [2, 2]


def test_a_default_hides_no_bug_of_the_values_that_may_be_given() -> None:
    with pytest.raises(DeterminismError) as caught:
        check_workflow(plan(Shouts, sandboxed=False), profile=FEW)
    assert caught.value.rule is Rule.TASK_FAILS
    with pytest.raises(DeterminismError) as caught:
        check_workflow(plan(Shouts, args="a", signals=[Shouts.hear], sandboxed=False), profile=FEW)
    assert caught.value.rule is Rule.TASK_FAILS
    assert "upper" in caught.value.what


@workflow.defn
class Defaults:
    @workflow.run
    async def run(self, odd: Odd = Odd(1)) -> None: ...  # noqa: B008


def test_a_default_of_which_there_are_no_other_values_is_all_there_is() -> None:
    explored = check_workflow(plan(Defaults, sandboxed=False), profile=Profile(name="few", schedules=20, seconds=20))
    assert any("parameter 'odd' of run" in what for what in explored.unchecked)
