"""The story: three carts are checked out, the worker is killed while it charges the cards, and another one goes on."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout
from temporalio.worker import Replayer

import dbos_compat
from examples.checkout.demo.evidence import Promises, attempts, steps
from examples.checkout.demo.proof import second_act, show
from examples.checkout.demo.screen import Screen
from examples.checkout.demo.stage import DemoFailed, Stage
from examples.checkout.demo.stock import dbos
from examples.checkout.engine import connect
from examples.checkout.shared import TASK_QUEUE, CheckoutInput, CheckoutResult, Item, workflow_id
from examples.checkout.workflows import CheckoutWorkflow

Handle = WorkflowHandle[CheckoutWorkflow, CheckoutResult]

CHARGE_SECONDS = 2.0
"""How long the payment provider takes."""
KILLED_AFTER_SECONDS = 0.8
APPROVAL_SECONDS = 4.0
"""How long the third cart waits for an approval that never comes."""
TAKEN_OVER_WITHIN_SECONDS = 30.0
"""The lease of a dead process is 10 s; the rest is for slow machines."""
ENDS_WITHIN_SECONDS = 30.0
APPROVER = "Grace"

AGAIN, ONCE, LATE = "again", "once", "late"


async def main() -> int:
    screen, promises = Screen(), Promises()
    screen.title(
        "[bold]dbos-compat[/]: a Temporal application on Postgres, killed while it charges a card\n"
        "[dim]its workflows and activities import temporalio only; one line says where they run:[/]\n"
        "client = await dbos_compat.connect(url)"
    )
    with screen.waiting("starting an embedded Postgres"):
        stage = Stage()
        await stage.__aenter__()
    try:
        screen.fact("an embedded PostgreSQL runs, fsync on, in a folder that goes away afterwards")
        await play(Play(screen, stage, promises))
        report = await second_act(screen, stage, promises)
    finally:
        await stage.__aexit__(None, None, None)
    screen.promises(promises)
    show(screen, report)
    return 1 if promises.broken else 0


class Play:
    """What the acts share."""

    def __init__(self, screen: Screen, stage: Stage, promises: Promises) -> None:
        self.screen, self.stage, self.promises = screen, stage, promises
        self.carts: dict[str, Handle] = {}
        self.first = self.second = 0
        """The worker processes: the one that is killed, and its successor."""

    def charging_for(self, cart: str) -> float:
        """For how long, in seconds, the card of a cart is being charged."""
        return time.time() - min(
            (ran.at for ran in self.stage.ledger.ran(workflow_id(cart), "charge_card")), default=time.time()
        )

    def ran(self, cart: str, activity: str) -> list[tuple[int, int]]:
        """``(process, attempt)`` of each execution of an activity of a cart."""
        return attempts(self.stage.ledger.ran(workflow_id(cart), activity))


async def play(play: Play) -> None:
    with play.screen.waiting("starting the worker"):
        play.first = await play.stage.start_worker()
        client = await connect()
    try:
        play.screen.fact(f"worker process [bold]{play.first}[/]: python -m examples.checkout.worker")
        await the_plug_is_pulled(play, client)
        await act_one(play)
        await act_two(play)
        await act_three(play)
        await the_tools_of_others(play)
        await temporals_own_judgement(play, client)
        status = await play.stage.end_worker()
        play.promises.check("the second worker ends politely when it is asked to", status, 0)
    finally:
        await dbos_compat.disconnect(client)


async def the_plug_is_pulled(play: Play, client: Client) -> None:
    screen, stage = play.screen, play.stage
    play.carts = {
        AGAIN: await check_out(client, AGAIN, approval_seconds=600, charge_seconds=CHARGE_SECONDS),
        ONCE: await check_out(client, ONCE, charge_once=True, charge_seconds=CHARGE_SECONDS),
        LATE: await check_out(client, LATE, approval_seconds=APPROVAL_SECONDS),
    }
    screen.fact("three carts are being checked out:")
    screen.say(f"[cyan]{AGAIN}[/]  charges with the default retry policy, then waits for an approval")
    screen.say(f"[cyan]{ONCE}[/]   charges with maximum_attempts=1: better no answer than two charges")
    screen.say(
        f"[cyan]{LATE}[/]   is charged already, and gives its approval {APPROVAL_SECONDS:g} s, on a durable timer"
    )
    with screen.waiting("reserving inventory, charging cards"):
        await until_status(play.carts[LATE], "waiting for approval")
        await stage.until(
            lambda: all(play.charging_for(cart) > KILLED_AFTER_SECONDS for cart in (AGAIN, ONCE)),
            "the cards are being charged",
            within=20,
        )
    charging_for = play.charging_for(AGAIN)
    status, killed = await stage.kill_worker(), time.monotonic()
    screen.fact(
        f"[bold red]SIGKILL[/] to process {play.first}, {charging_for:.1f} s into the charges of two cards",
        mark="[red]✗[/]",
    )
    play.promises.check("the worker died of SIGKILL, in the middle of two charges", status, -9)
    with screen.waiting("starting the worker again"):
        play.second = await stage.start_worker()
    screen.fact(f"worker process [bold]{play.second}[/] is started, the same program; nobody tells it what to do")
    with screen.waiting("the dead process is believed alive until its lease of 10 s lapses", seconds=10):
        await stage.until(
            lambda: play.second in [pid for pid, _ in play.ran(AGAIN, "charge_card")],
            "the second worker goes on with the charge",
            within=TAKEN_OVER_WITHIN_SECONDS,
        )
    screen.fact(
        f"process {play.second} goes on with all three, from their journals, {time.monotonic() - killed:.1f} s after the kill"
    )


async def act_one(play: Play) -> None:
    """The default policy: at least once."""
    screen, handle = play.screen, play.carts[AGAIN]
    screen.act("Act 1 · the default retry policy: the charge runs again, the steps before it do not")

    with screen.waiting("charging the card again", seconds=CHARGE_SECONDS):
        await until_status(handle, "waiting for approval")
    screen.fact(f"a query answers where cart [cyan]{AGAIN}[/] stands: waiting for approval")
    await handle.signal(CheckoutWorkflow.approve, APPROVER)
    screen.fact(f"signal approve({APPROVER!r}) is sent; when the call returns it is in the database")
    result = await asyncio.wait_for(handle.result(), ENDS_WITHIN_SECONDS)
    screen.fact(f"it is done: [green]{result.order_id}[/], approved by {result.approved_by}")
    screen.timeline(f"cart {AGAIN}", steps(await handle.fetch_history(), play.stage.ledger), play.first, play.second)
    check = play.promises.check
    check(
        f"{AGAIN}: the inventory was reserved once, before the kill",
        play.ran(AGAIN, "reserve_inventory"),
        [(play.first, 1)],
    )
    check(
        f"{AGAIN}: the charge that was killed ran again, as its second attempt (at least once, as on Temporal)",
        play.ran(AGAIN, "charge_card"),
        [(play.first, 1), (play.second, 2)],
    )
    later = [play.ran(AGAIN, name) for name in ("create_order", "send_confirmation_email")]
    check(f"{AGAIN}: order and confirmation ran once, after the kill", later, [[(play.second, 1)], [(play.second, 1)]])
    check(f"{AGAIN}: the approval arrived by signal", result.approved_by, APPROVER)


async def act_two(play: Play) -> None:
    """``maximum_attempts=1``: at most once."""
    screen, handle = play.screen, play.carts[ONCE]
    screen.act("Act 2 · maximum_attempts=1: nobody knows whether money moved, so nobody tries again")
    with screen.waiting("the attempt is missed when its heartbeat timeout passes"):
        causes = await failure_of(handle)
    screen.fact("the workflow saw what Temporal would show it, and took the reservation back:")
    for depth, error in enumerate(causes):
        screen.say("   " * depth + f"{'└─ ' if depth else ''}[red]{type(error).__name__}[/]: {error}")
    screen.timeline(f"cart {ONCE}", steps(await handle.fetch_history(), play.stage.ledger), play.first, play.second)
    check = play.promises.check
    check(f"{ONCE}: the card was charged once and never again", play.ran(ONCE, "charge_card"), [(play.first, 1)])
    check(
        f"{ONCE}: the workflow saw ActivityError, caused by a heartbeat TimeoutError",
        [type(error) for error in causes] + [error.type for error in causes if isinstance(error, ActivityTimeout)],
        [ApplicationError, ActivityError, ActivityTimeout, TimeoutType.HEARTBEAT],
    )
    check(
        f"{ONCE}: the inventory was released, once, after the kill",
        play.ran(ONCE, "release_inventory"),
        [(play.second, 1)],
    )
    check(f"{ONCE}: there is no order", play.ran(ONCE, "create_order"), [])


async def act_three(play: Play) -> None:
    """A timer outlives the process that set it."""
    screen, handle = play.screen, play.carts[LATE]
    screen.act("Act 3 · a timer that was set by the dead process rings in its successor")
    with screen.waiting("nobody approves"):
        causes = await failure_of(handle)
    screen.fact(f"the time for the approval is over: [red]{causes[0]}[/]")
    screen.timeline(f"cart {LATE}", steps(await handle.fetch_history(), play.stage.ledger), play.first, play.second)
    check = play.promises.check
    before = [play.ran(LATE, name) for name in ("reserve_inventory", "charge_card")]
    check(f"{LATE}: reserved and charged once, before the kill", before, [[(play.first, 1)], [(play.first, 1)]])
    undone = [ran.activity for ran in play.stage.ledger.ran(workflow_id(LATE)) if ran.pid == play.second]
    check(
        f"{LATE}: the timer rang, and everything was taken back, last step first",
        undone,
        ["refund_charge", "release_inventory"],
    )


async def the_tools_of_others(play: Play) -> None:
    """The checkpoints as stock DBOS sees them."""
    screen, stage = play.screen, play.stage
    screen.act("The same rows, as the stock dbos 3.4 command sees them")
    with screen.waiting("asking dbos"):
        listed, got, stepped = await asyncio.gather(
            dbos(stage.url, stage.folder, "list"),
            dbos(stage.url, stage.folder, "get", workflow_id(AGAIN)),
            dbos(stage.url, stage.folder, "steps", workflow_id(AGAIN)),
        )
    screen.workflows("dbos workflow list", listed)
    screen.steps(f"dbos workflow steps {workflow_id(AGAIN)}", stepped)
    check = play.promises.check
    check(
        "stock dbos lists all three workflows with how they ended",
        {row["workflow_id"]: row["status"] for row in listed},
        {workflow_id(AGAIN): "SUCCESS", workflow_id(ONCE): "ERROR", workflow_id(LATE): "ERROR"},
    )
    check("stock dbos reads the result", got["output"]["order_id"], f"order-{AGAIN}")
    numbers = [row["function_id"] for row in stepped]
    check("stock dbos sees a journal without gaps", numbers, list(range(numbers[0], numbers[0] + len(numbers))))
    unreadable = [row["function_id"] for row in stepped if not isinstance(row["output"], dict)]
    check("stock dbos reads every checkpoint as JSON", unreadable, [])


async def temporals_own_judgement(play: Play, client: Client) -> None:
    """Temporal's Replayer runs the workflow code against the histories."""
    with play.screen.waiting("replaying the three histories with Temporal's own Replayer"):
        replayer = Replayer(workflows=[CheckoutWorkflow])
        histories = [await handle.fetch_history() for handle in play.carts.values()]
        replays = [await replayer.replay_workflow(one, raise_on_replay_failure=False) for one in histories]
    refused = [str(replay.replay_failure) for replay in replays if replay.replay_failure is not None]
    play.promises.check("Temporal's own Replayer accepts the three histories", refused, [])


async def check_out(client: Client, cart: str, **variant: float | bool) -> Handle:
    order = CheckoutInput(cart, "ada", "ada@example.com", [Item("engine"), Item("punched-card", 12)], 18_42)
    for name, value in variant.items():
        setattr(order, name, value)
    return await client.start_workflow(CheckoutWorkflow.run, order, id=workflow_id(cart), task_queue=TASK_QUEUE)


async def until_status(handle: Handle, status: str) -> None:
    """Wait until a query says so."""
    async with asyncio.timeout(ENDS_WITHIN_SECONDS):
        while await handle.query(CheckoutWorkflow.status) != status:  # noqa: ASYNC110 - asked across processes
            await asyncio.sleep(0.05)


async def failure_of(handle: Handle) -> list[BaseException]:
    """How a workflow failed: its failure and the causes of it, outermost first."""
    try:
        result = await asyncio.wait_for(handle.result(), ENDS_WITHIN_SECONDS)
    except WorkflowFailureError as failure:
        return list(causes(failure.cause))
    raise DemoFailed(f"{handle.id} should have failed, and its result is {result}")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while isinstance(error, FailureError):
        yield error
        error = error.cause


def run() -> int:
    argparse.ArgumentParser(prog="python -m examples.checkout.demo", description=main.__doc__ or __doc__).parse_args()
    try:
        return asyncio.run(main())
    except DemoFailed as failed:
        sys.stderr.write(f"\nthe demo could not go on: {failed}\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
