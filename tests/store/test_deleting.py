"""Deleting one run: gone with all its rows, and only when it is closed."""

from __future__ import annotations

from dbos_core.search import Query


async def test_a_closed_run_is_deleted_with_everything(ours, theirs):
    await ours.start("order-42")
    await ours.finish("order-42")

    assert await theirs.store.delete_run("order-42")

    assert await ours.store.find("order-42", None) is None
    assert await ours.store.load(["order-42"]) == []
    assert (await ours.store.search(Query())).rows == []
    assert not await theirs.store.delete_run("order-42")


async def test_an_open_run_is_not_deleted(ours, theirs):
    await ours.start("order-42")

    assert not await theirs.store.delete_run("order-42")

    assert await ours.store.find("order-42", None) is not None


async def test_the_id_of_a_deleted_run_can_be_used_again(ours):
    await ours.start("order-42")
    await ours.finish("order-42")
    await ours.store.delete_run("order-42")

    await ours.start("order-42")

    assert await ours.store.find("order-42", None) is not None


async def test_a_closed_run_learns_its_length(ours, theirs):
    await ours.start("order-42")
    await theirs.store.set_history_length("order-42", 99)
    await ours.finish("order-42")

    await theirs.store.set_history_length("order-42", 7)

    row = await ours.store.find("order-42", None)
    assert row is not None
    assert row.history_length == 7
