"""The part ``shadow``: recorded histories, replayed by the shadow on the core and by Temporal's own ``Replayer``.

Both in a process of their own, on the same histories, without the sandbox, in alternating rounds. The figure is the
processor time of the process per history, since a machine that does other things at the same time makes wall clocks lie.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

AT_LEAST = 5.0
"""How much faster than Temporal's replayer the core's replay should be."""
WAYS = ("core", "replayer")


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One process that has replayed all histories."""

    way: str
    histories: int
    events: int
    """Of one history."""
    cpu_seconds: float
    wall_seconds: float
    inside_seconds: float
    """Of the processor time, what temporalio's workflow instances have taken. No replay can do without."""
    memory_mb: float
    """The largest resident set."""


@dataclass(frozen=True, kw_only=True)
class Replays:
    """What was found, medians over the rounds."""

    histories: int
    events: int
    core_ms: float
    """Processor time per history."""
    replayer_ms: float
    inside_ms: float
    """Of ``core_ms``, what temporalio's workflow instances take."""
    core_wall_ms: float
    replayer_wall_ms: float
    core_memory_mb: float
    replayer_memory_mb: float

    @property
    def times(self) -> float:
        """How much faster the core's replay is."""
        return self.replayer_ms / self.core_ms

    @property
    def kept(self) -> bool:
        return self.times >= AT_LEAST

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"times": self.times, "kept": self.kept}


def summary(visits: Sequence[Visit]) -> Replays:
    """Medians over the visits of each way."""

    def of(way: str, figure: Callable[[Visit], float]) -> float:
        return median(figure(visit) for visit in visits if visit.way == way)

    first = visits[0]
    return Replays(
        histories=first.histories,
        events=first.events,
        core_ms=of("core", lambda v: v.cpu_seconds / v.histories * 1000),
        replayer_ms=of("replayer", lambda v: v.cpu_seconds / v.histories * 1000),
        inside_ms=of("core", lambda v: v.inside_seconds / v.histories * 1000),
        core_wall_ms=of("core", lambda v: v.wall_seconds / v.histories * 1000),
        replayer_wall_ms=of("replayer", lambda v: v.wall_seconds / v.histories * 1000),
        core_memory_mb=of("core", lambda v: v.memory_mb),
        replayer_memory_mb=of("replayer", lambda v: v.memory_mb),
    )


async def measure_replays(
    histories: int, rounds: int, *, doing: Callable[[str], None] = lambda _: None, told: Callable[[Visit], None]
) -> Replays:
    """Run the visits. Raises RuntimeError when one fails."""
    visits = []
    for number in range(rounds):
        for way in WAYS if number % 2 == 0 else reversed(WAYS):
            visits.append(
                await _visit(way, histories, f"round {number + 1}: {histories:,} histories by the {way}", doing)
            )
            told(visits[-1])
    return summary(visits)


async def _visit(way: str, histories: int, what: str, doing: Callable[[str], None]) -> Visit:
    doing(what)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.replay_visit",
        way,
        str(histories),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = await asyncio.gather(process.stdout.read(), _heard(process.stderr, what, doing))
    if await process.wait():
        raise RuntimeError(f"the {way} failed: {err[-2000:]}")
    return Visit(**json.loads(out))


async def _heard(lines: asyncio.StreamReader, what: str, doing: Callable[[str], None]) -> str:
    """What a visit has said on standard error besides how far it is."""
    other = []
    async for line in lines:
        text = line.decode(errors="replace")
        if text.strip().isdecimal():
            doing(f"{what}, {int(text):,} through")
        else:
            other.append(text)
    return "".join(other)
