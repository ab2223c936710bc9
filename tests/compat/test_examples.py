"""The examples in `examples/` that are one file each do the same on either engine."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from examples import basket, fleet, onboarding, order_desk, trip

from .support import MakeWorker, eventually


async def events(handle: WorkflowHandle, kind: EventType.ValueType) -> int:
    return sum(event.event_type == kind for event in (await handle.fetch_history()).events)


async def test_a_trip_is_booked_and_reviewed(client: Client, unique: str, make_worker: MakeWorker) -> None:
    async with make_worker(client, task_queue=trip.QUEUE, workflows=[trip.Trip, trip.Booking, trip.Review]):
        outcome = await trip.book(client, f"rome-{unique}", ["train", "hotel"])
        assert outcome == trip.Outcome(booked=["train R1", "hotel R2"])
        review = client.get_workflow_handle(f"rome-{unique}/review")
        assert (await review.describe()).parent_id == f"rome-{unique}"
        await review.signal(trip.Review.rate, 5)
        assert await review.result() == 5


async def test_a_trip_that_fails_gives_back_what_it_held(client: Client, unique: str, make_worker: MakeWorker) -> None:
    async with make_worker(client, task_queue=trip.QUEUE, workflows=[trip.Trip, trip.Booking, trip.Review]):
        outcome = await trip.book(client, f"moon-{unique}", ["train", "moon", "hotel"])
        assert outcome == trip.Outcome(booked=["train R1"], given_back=["hotel"], reason="no flights to the moon")


async def test_a_basket_is_priced_beside_its_workflow(client: Client, unique: str, make_worker: MakeWorker) -> None:
    lines = [basket.Line("apple", 3), basket.Line("cheese", 2), basket.Line("moonstone", 1)]
    activities = [basket.price, basket.discount, basket.print_receipt]
    async with make_worker(client, task_queue=basket.QUEUE, workflows=[basket.Basket], activities=activities):
        handle = await client.start_workflow(basket.Basket.run, lines, id=f"basket-{unique}", task_queue=basket.QUEUE)
        assert await handle.result() == basket.Priced(1632, ["moonstone"], "16.32")
        assert await events(handle, EventType.EVENT_TYPE_MARKER_RECORDED) == 4
        assert await events(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED) == 1


@pytest.mark.no_replay("three workflow classes of one type")
async def test_code_changes_under_open_runs(client: Client, unique: str, make_worker: MakeWorker) -> None:
    async def start(who: str) -> WorkflowHandle:
        handle = await client.start_workflow(
            "Onboarding", who, id=f"{who}-{unique}", task_queue=queue, result_type=list[str]
        )

        async def asked() -> None:
            activities = await events(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
            assert activities == expected

        await eventually(asked)
        return handle

    queue = f"{onboarding.QUEUE}-{unique}"
    expected = 1
    async with make_worker(client, task_queue=queue, workflows=[onboarding.First], activities=[onboarding.send]):
        first = await start("ada")
    expected = 2
    async with make_worker(client, task_queue=queue, workflows=[onboarding.Second], activities=[onboarding.send]):
        await first.signal(onboarding.First.confirm)
        assert await first.result() == ["request to ada", "e-mail to ada"]
        second = await start("bob")
    async with make_worker(client, task_queue=queue, workflows=[onboarding.Third], activities=[onboarding.send]):
        third = await start("cleo")
        for handle, who in ((second, "bob"), (third, "cleo")):
            await handle.signal(onboarding.First.confirm)
            assert await handle.result() == [f"letter to {who}", f"request to {who}", f"e-mail to {who}"]


async def test_orders_are_found_and_paid_together(client: Client, unique: str, make_worker: MakeWorker) -> None:
    await order_desk.add_attributes(client)
    ada, bob = f"ada-{unique}", f"bob-{unique}"
    ours = f"WorkflowType = 'Order' AND OrderCustomer IN ('{ada}', '{bob}')"
    async with make_worker(client, task_queue=order_desk.QUEUE, workflows=[order_desk.Order]):

        async def placed() -> list[WorkflowHandle]:
            return [
                await order_desk.place(client, f"order-{number}-{unique}", customer, cents)
                for number, (customer, cents) in enumerate([(ada, 900), (ada, 12_000), (bob, 450)], 1)
            ]

        handles = await placed()

        async def open_orders() -> None:
            assert len(await order_desk.found(client, f"{ours} AND OrderState = 'open'")) == 3

        await eventually(open_orders)
        assert await order_desk.found(client, f"{ours} AND OrderCents > 1000") == [f"order-2-{unique}"]
        await order_desk.pay_all(client, f"{ours} AND OrderCents BETWEEN 400 AND 1000")
        assert await handles[0].result() == f"for {ada}"
        assert await handles[2].result() == f"for {bob}"

        async def counted() -> None:
            assert await order_desk.by_status(client, ours) == {"Completed": 2, "Running": 1}

        await eventually(counted)
        await handles[1].terminate()
        assert (await handles[1].describe()).status == WorkflowExecutionStatus.TERMINATED


async def test_a_worker_goes_home_and_nothing_is_drawn_twice(
    client: Client, unique: str, make_worker: MakeWorker
) -> None:
    frames, attempts = fleet.Frames(0.02), fleet.Attempts()
    async with make_worker(client, task_queue=fleet.QUEUE, workflows=[fleet.Film]):
        async with make_worker(client, **fleet.heavy_options(frames, attempts)):
            films = [
                await client.start_workflow(
                    fleet.Film.run, f"{name}-{unique}", id=f"film-{name}-{unique}", task_queue=fleet.QUEUE
                )
                for name in ("ark", "bat", "cup")
            ]

            async def under_way() -> None:
                assert sum(frames.drawn.values()) >= 5

            await eventually(under_way)
        async with make_worker(client, **fleet.heavy_options(frames, attempts)):
            assert await asyncio.gather(*(film.result() for film in films)) == [fleet.FRAMES] * 3
    assert len(frames.drawn) == 3 * fleet.FRAMES
    assert set(frames.drawn.values()) == {1}
    assert max(attempts.count.values()) == 2
