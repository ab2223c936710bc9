"""Requests: a question to whichever process can answer it, taken by one, answered once, removed by the asker."""

from __future__ import annotations

import asyncio

from dbos_core.store.base import WakeKind
from tests.store.support import HOUR, QUEUE, Process, request


async def test_a_request_reaches_the_owner_of_the_run(ours, theirs):
    await ours.start("order-42")
    asked = request("order-42", deadline=await ours.store.now_ms() + HOUR)

    await theirs.store.ask(asked)

    assert await ours.store.take_requests(ours.id, [QUEUE], 10) == [asked]


async def test_a_request_wakes_its_queue(ours, theirs, ear):
    await ours.start("order-42")

    await ours.store.ask(request("order-42", deadline=await ours.store.now_ms() + HOUR))

    await ear.hears(WakeKind.REQUEST, QUEUE)


async def test_nobody_but_the_owner_takes_a_request_for_an_owned_run(ours, theirs):
    await ours.start("order-42")
    await theirs.store.ask(request("order-42", deadline=await ours.store.now_ms() + HOUR))

    assert await theirs.store.take_requests(theirs.id, [QUEUE], 10) == []
    assert len(await ours.store.take_requests(ours.id, [QUEUE], 10)) == 1


async def test_a_request_for_a_parked_run_is_taken_by_one_process_that_serves_the_queue(ours, theirs):
    await ours.start("order-42")
    await ours.park("order-42")
    asked = request("order-42", deadline=await ours.store.now_ms() + HOUR)
    await ours.store.ask(asked)

    assert await theirs.store.take_requests(theirs.id, ["mail"], 10) == []
    assert await theirs.store.take_requests(theirs.id, [QUEUE], 10) == [asked]
    assert await ours.store.take_requests(ours.id, [QUEUE], 10) == []


async def test_a_request_for_a_closed_run_is_taken_by_a_process_that_serves_the_queue(ours, theirs):
    await ours.start("order-42")
    await ours.finish("order-42")
    asked = request("order-42", deadline=await ours.store.now_ms() + HOUR)
    await ours.store.ask(asked)

    assert await theirs.store.take_requests(theirs.id, [QUEUE], 10) == [asked]


async def test_processes_that_take_at_once_share_the_requests(ours, theirs, store_factory):
    third = Process(await store_factory())
    await ours.start("order-42")
    await ours.park("order-42")
    deadline = await ours.store.now_ms() + HOUR
    asked = [request("order-42", deadline=deadline) for _ in range(20)]
    for one in asked:
        await ours.store.ask(one)

    shares = await asyncio.gather(
        *(process.store.take_requests(process.id, [QUEUE], 10) for process in (ours, theirs, third))
    )

    taken = [one.request_id for share in shares for one in share]
    assert len(taken) == len(set(taken)), "a request was taken twice"
    taken += [one.request_id for one in await third.store.take_requests(third.id, [QUEUE], 100)]
    assert set(taken) == {one.request_id for one in asked}


async def test_taking_requests_is_limited(ours):
    await ours.start("order-42")
    deadline = await ours.store.now_ms() + HOUR
    for _ in range(3):
        await ours.store.ask(request("order-42", deadline=deadline))

    assert len(await ours.store.take_requests(ours.id, [QUEUE], 2)) == 2
    assert len(await ours.store.take_requests(ours.id, [QUEUE], 2)) == 1


async def test_an_answer_wakes_the_asker_and_is_read_once(ours, theirs, ear):
    await ours.start("order-42")
    asked = request("order-42", deadline=await ours.store.now_ms() + HOUR)
    await theirs.store.ask(asked)
    await ours.store.take_requests(ours.id, [QUEUE], 10)
    assert await theirs.store.response(asked.request_id) is None

    await ours.store.answer(asked.request_id, '{"status": "paid"}')

    await ear.hears(WakeKind.ANSWER, asked.request_id)
    assert await theirs.store.response(asked.request_id) == '{"status": "paid"}'
    assert await theirs.store.response(asked.request_id) is None


async def test_an_answered_request_is_not_taken_again(ours):
    await ours.start("order-42")
    asked = request("order-42", deadline=await ours.store.now_ms() + HOUR)
    await ours.store.ask(asked)
    await ours.store.take_requests(ours.id, [QUEUE], 10)

    await ours.store.answer(asked.request_id, '"ok"')

    assert await ours.store.take_requests(ours.id, [QUEUE], 10) == []


async def test_a_request_whose_deadline_has_passed_is_not_taken(ours):
    await ours.start("order-42")
    await ours.store.ask(request("order-42", deadline=await ours.store.now_ms() - 1))

    assert await ours.store.take_requests(ours.id, [QUEUE], 10) == []
    assert not (await ours.pulse()).requests


async def test_an_answer_to_a_request_that_is_gone_is_ignored(ours):
    await ours.store.answer("00000000-0000-4000-8000-000000000000", '"late"')

    assert await ours.store.response("00000000-0000-4000-8000-000000000000") is None
