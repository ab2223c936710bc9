"""What the decorator noted of an activity is copied only where the copy would be another one."""

from __future__ import annotations

import dataclasses

from temporalio import activity

from dbos_compat import private_activities
from dbos_compat.private_definitions import activity_name

SDK = private_activities._copied


class Shop:
    @activity.defn
    async def charge(self, amount: int) -> str:
        return f"{amount}"


@activity.defn(name="ship-it")
async def ship(order: str) -> None: ...


@activity.defn
async def bare(order): ...


def test_a_decorated_function_has_what_was_noted() -> None:
    noted = private_activities._of(ship)
    assert noted is not None
    assert noted is private_activities._of(ship)
    assert noted == SDK(ship)
    assert (noted.name, noted.fn, activity_name(ship)) == ("ship-it", ship, "ship-it")


def test_a_bound_method_has_a_copy_with_the_method() -> None:
    shop = Shop()
    noted = private_activities._of(shop.charge)
    assert noted is not None
    assert noted.fn == shop.charge
    assert dataclasses.replace(noted, fn=Shop.charge) == private_activities._of(Shop.charge)


def test_without_annotations_and_without_a_decorator_the_sdk_decides() -> None:
    assert private_activities._of(bare) == SDK(bare)
    assert private_activities._of(print) is SDK(print) is None
