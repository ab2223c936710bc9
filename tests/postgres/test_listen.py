"""The listening session: it comes back by itself and says that something may have been missed."""

from __future__ import annotations

from dbos_core.commit import Commit, UpdateRow, Verdict
from dbos_core.store.base import Wake, WakeKind
from dbos_core.store.postgres import PostgresStore
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.waiting import eventually
from tests.store.support import Ear, Process, letter, post


async def test_a_lost_session_comes_back_with_a_resync(
    ours: Process, postgres_server: PostgresServer, postgres_url: str
) -> None:
    ear = Ear(ours)

    postgres_server.kill_backends(postgres_url)

    await ear.hears(WakeKind.RESYNC, "")
    await eventually(ours.store.now_ms)
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))
    await ear.hears(WakeKind.MAIL, "order-42")


async def test_namespaces_do_not_hear_each_other(ours: Process, postgres_url: str) -> None:
    other = PostgresStore(postgres_url, namespace="other")
    await other.open()
    try:
        ear = Ear(Process(other))
        await ours.start("theirs", claimed=False)
        await ear.process.start("own", claimed=False, task_queue="own-queue")
        await ear.hears(WakeKind.WORK, "own-queue")
        assert Wake(WakeKind.WORK, "orders") not in ear.wakes
    finally:
        await other.close()


async def test_ids_with_separators_are_announced(ours: Process) -> None:
    ear = Ear(ours)
    await ours.start("a::b|c")
    await ours.commit(post(letter("a::b|c", topic="t::x")))
    await ear.hears(WakeKind.MAIL, "a::b|c")


async def test_a_key_too_long_for_a_payload_becomes_a_resync(ours: Process) -> None:
    ear = Ear(ours)
    long_id = "ü" * 1_000
    update_id = "ö" * 3_000
    await ours.start(long_id)
    await ours.store.admit_update(long_id, update_id, letter(long_id))
    await ours.store.update_row(long_id, update_id, watch=True)

    verdict = await ours.commit(
        Commit(workflow_uuid=long_id, updates=(UpdateRow(update_id=update_id, stage=3, outcome="1"),))
    )

    assert verdict is Verdict.COMMITTED
    await ear.hears(WakeKind.MAIL, long_id)
    await ear.hears(WakeKind.RESYNC, "")


async def test_a_callback_that_raises_disturbs_nobody(ours: Process) -> None:
    def broken(_: Wake) -> None:
        raise RuntimeError("broken on purpose")

    ours.store.listen(broken)
    ear = Ear(ours)
    await ours.start("one", claimed=False)
    await ear.hears(WakeKind.WORK, "orders")


async def test_what_a_process_wrote_itself_is_told_later_and_of_many_at_once(ours: Process, postgres_url: str) -> None:
    other = PostgresStore(postgres_url)
    await other.open()
    ear, theirs = Ear(ours), Process(other)
    await ours.start("order-42")
    await ours.start("order-43")

    for uuid in ("order-42", "order-43", "order-42"):
        await ours.commit(post(letter(uuid)))
    await theirs.commit(post(letter("order-43", topic="theirs")))

    await ear.hears(WakeKind.MAIL, "order-42")
    mail = [wake.key for wake in ear.wakes if wake.kind is WakeKind.MAIL]
    await other.close()
    assert mail == ["order-43", "order-42", "order-43"], "theirs at once, then each of ours once"


async def test_a_look_for_work_waits_for_every_announcement(ours: Process) -> None:
    ear = Ear(ours)
    await ours.start("order-42")
    await ours.commit(post(letter("order-42")))

    assert await ours.claim() == []

    assert Wake(WakeKind.MAIL, "order-42") in ear.wakes
