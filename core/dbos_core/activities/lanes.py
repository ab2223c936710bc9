"""Lanes: the workers of this process, by task queue, and the attempts that wait for a slot. First come, first served.

A *lane* is one executor on one queue with its slots. Several may serve the same queue; they take turns.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable

from dbos_core.activities.attempt import Executor
from dbos_core.activities.execution import Throttle
from dbos_core.activities.machine import ActivityMachine
from dbos_core.activities.moves import State
from dbos_core.clock import Clock, TimerHandle

CLAIM_TURN = 4
"""While other processes' offers wait, every fourth slot is for them, however long our own backlog is."""

_NOTHING = 1e-6
"""What rounding may leave over."""


class RateLimit:
    """A bucket of starts: refilled at ``per_second``, holding at most one second's worth. At 0 or less nothing starts."""

    __slots__ = ("_filled_ms", "_level", "_per_ms", "_size", "per_second")

    def __init__(self, per_second: float, now_ms: int) -> None:
        self.per_second = per_second
        self._per_ms = per_second / 1000
        self._size = max(1.0, per_second)
        self._level = self._size
        self._filled_ms = now_ms

    @property
    def stopped(self) -> bool:
        return not self.per_second > 0

    def wait_ms(self, now_ms: int) -> int:
        """How long until a start is allowed; 0: now."""
        if now_ms > self._filled_ms:
            self._level = min(self._size, self._level + (now_ms - self._filled_ms) * self._per_ms)
        self._filled_ms = now_ms
        missing = 1.0 - self._level
        return 0 if missing <= _NOTHING else math.ceil(missing / self._per_ms - _NOTHING)

    def share(self, sharers: int, now_ms: int) -> None:
        """So many share the rate evenly from now on."""
        self.wait_ms(now_ms)  # fills it up at the rate that held so far
        each = self.per_second / sharers
        self._per_ms, self._size = each / 1000, max(1.0, each)
        self._level = min(self._level, self._size)

    def take(self) -> None:
        self._level -= 1.0

    def give_back(self) -> None:
        self._level = min(self._size, self._level + 1.0)


class Lane:
    """One executor on one task queue."""

    __slots__ = ("executor", "free", "limit", "queue", "slots", "throttle")

    def __init__(
        self, queue: TaskQueue, executor: Executor, slots: int, limit: RateLimit | None, throttle: Throttle
    ) -> None:
        self.queue = queue
        self.executor = executor
        self.slots = slots
        self.free = slots
        self.limit = limit
        self.throttle = throttle

    def release(self) -> None:
        """A slot is free again."""
        self.free += 1
        queue = self.queue
        if queue.backlog or queue.offers_wait:
            queue.pump()


class TaskQueue:
    """One task queue as far as this process serves it."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        start: Callable[[ActivityMachine, Lane], None],
        claim: Callable[[TaskQueue], None],
    ) -> None:
        self.name = name
        self.lanes: list[Lane] = []
        self.backlog: deque[ActivityMachine] = deque()
        self.limit: RateLimit | None = None
        self.offers_wait = False
        """Other processes' offers were seen or announced, and not all taken."""
        self.claiming = False
        """A claim is under way."""
        self._clock = clock
        self._start = start
        self._claim = claim
        self._turn = 0
        self._timer: TimerHandle | None = None

    def enqueue(self, machine: ActivityMachine) -> None:
        """Start it now if there is a slot and nobody is before it."""
        if not self.backlog and (lane := self.take_slot()) is not None:
            self._start(machine, lane)
            return
        self.backlog.append(machine)

    def dequeue(self, machine: ActivityMachine) -> None:
        """It does not want a slot any more, and may want one again before the line has come to it."""
        with contextlib.suppress(ValueError):
            self.backlog.remove(machine)

    def take_slot(self) -> Lane | None:
        """Take a slot. None: none is free, or a rate limit holds (then the queue is looked at again in time)."""
        lane = self._free_lane()
        if lane is None:
            return None
        limits = [limit for limit in (self.limit, lane.limit) if limit is not None]
        if limits:
            if any(limit.stopped for limit in limits):
                return None
            now = self._clock.now_ms()
            wait_ms = max(limit.wait_ms(now) for limit in limits)
            if wait_ms > 0:
                self._look_again(now + wait_ms)
                return None
            for limit in limits:
                limit.take()
        lane.free -= 1
        return lane

    def take_slots(self, most: int) -> list[Lane]:
        """Take so many slots, or those that there are."""
        if len(self.lanes) == 1 and self.limit is None and self.lanes[0].limit is None:  # nearly always
            (lane,) = self.lanes
            count = max(min(most, lane.free), 0)
            lane.free -= count
            return [lane] * count
        taken: list[Lane] = []
        while len(taken) < most and (free := self.take_slot()) is not None:
            taken.append(free)
        return taken

    def give_back(self, *lanes: Lane) -> None:
        """Slots that were taken were not used."""
        for lane in lanes:
            for limit in (self.limit, lane.limit):
                if limit is not None:
                    limit.give_back()
            lane.free += 1
        if lanes and (self.backlog or self.offers_wait):
            self.pump()

    def pump(self) -> None:
        """Use the free slots: for our own backlog, and for the offers of others."""
        while self.backlog:
            if self.backlog[0].state is not State.READY:  # cancelled or timed out meanwhile
                self.backlog.popleft()
                continue
            if self._free_lane() is None:
                return
            if self.offers_wait and not self.claiming and self._turn >= CLAIM_TURN:
                self._turn = 0
                self._claim(self)
                continue
            lane = self.take_slot()
            if lane is None:
                return
            self._turn += 1
            self._start(self.backlog.popleft(), lane)
        if self.offers_wait and not self.claiming and self._free_lane() is not None:
            self._claim(self)

    @property
    def free(self) -> int:
        return sum([lane.free for lane in self.lanes if lane.free > 0])

    @property
    def slots(self) -> int:
        return sum([lane.slots for lane in self.lanes])

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _free_lane(self) -> Lane | None:
        lanes = self.lanes
        if len(lanes) == 1:  # nearly always
            return lanes[0] if lanes[0].free > 0 else None
        for index, lane in enumerate(lanes):
            if lane.free > 0:
                lanes.append(lanes.pop(index))  # take turns
                return lane
        return None

    def _look_again(self, when_ms: int) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(when_ms, self._rate_allows)

    def _rate_allows(self) -> None:
        self._timer = None
        self.pump()
