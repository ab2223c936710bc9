"""Plays: which programs of a sample are run, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Play:
    """One sample, in a namespace of its own. The last of its workers judges."""

    name: str
    acts: tuple[Act, ...]
    needs: tuple[str, ...] = ()
    """Packages that it imports, beside temporalio."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """A worker, and the programs that are run beside it, one after the other, as command lines."""

    worker: str
    starters: tuple[str, ...] = ()
    runs_s: float = 0.0
    """For so long, after the starters; a program that ends by itself needs none."""


HELLO = (
    "activity", "activity_async", "activity_choice", "activity_heartbeat", "activity_method", "activity_multiprocess",
    "activity_retry", "async_activity_completion", "cancellation", "child_workflow",
    "continue_as_new", "exception", "local_activity", "parallel_activity", "query", "search_attributes",
    "signal", "update",
)  # fmt: skip

ENDLESS = "hello/hello_cron.py"

LEFT_OUT = {
    "hello/hello_mtls": "needs certificates",
    "hello_nexus, nexus_*": "Nexus is not supported, by name",
    "hello_standalone_activity": "has no workflow",
    "worker_versioning": "worker deployments are not supported, by name",
    "bedrock, deepagents_plugin, google_*, langfuse_tracing, langgraph_plugin, langsmith_tracing, litellm_activity, "
    "openai_agents, strands_plugin": "call services on the internet",
    "open_telemetry, prometheus, custom_metric, sentry": "send to a collector, or open a port for one",
    "external_storage, external_storage_redis": "need a store beside them",
    "activity_worker": "its workflow is in another language",
    "gevent_async, trio_async, pydantic_converter_v1": "need another event loop, or an old release of a package",
    "workflow_streams": "has the server's address in its code",
    "lambda_worker, cloud_export_to_parquet, env_config, worker_multiprocessing, replay": "are about deployment and tools",
}
"""What is not run, and why."""


def plays() -> Iterator[Play]:
    for name in HELLO:
        yield Play(f"hello/{name}", (Act(f"hello/hello_{name}.py"),))
    yield Play(
        "hello/change_log_level", (Act("hello/hello_change_log_level.py", runs_s=4),), note="its task fails for ever"
    )
    for version in ("v1", "v2", "v3"):
        yield Play(f"hello/patch {version}", (Act(f"hello/hello_patch.py {version}"),))
    yield Play("hello/cron", (Act(ENDLESS, runs_s=4),), note="its first task comes with the next minute")
    yield Play("eager_wf_start", (Act("eager_wf_start/run.py"),))
    for name in ("introduction", "waiting_for_handlers", "waiting_for_handlers_and_compensation"):
        yield _pair(f"message_passing/{name}")
    yield Play(
        "message_passing/safe_message_handlers",
        (
            Act(
                "message_passing/safe_message_handlers/worker.py",
                (
                    "message_passing/safe_message_handlers/starter.py",
                    "message_passing/safe_message_handlers/starter.py --test-continue-as-new",
                ),
            ),
        ),
    )
    yield _pair("message_passing/update_with_start/lazy_initialization")
    yield Play("polling/frequent", (Act("polling/frequent/run_worker.py", ("polling/frequent/run_frequent.py",)),))
    yield Play(
        "polling/periodic_sequence",
        (Act("polling/periodic_sequence/run_worker.py", ("polling/periodic_sequence/run_periodic.py &",), runs_s=20),),
        note="looked at while it polls",
    )
    yield Play(
        "polling/infrequent",
        (Act("polling/infrequent/run_worker.py", ("polling/infrequent/run_infrequent.py &",), runs_s=12),),
        note="looked at while it waits for its second attempt",
    )
    yield from _patching()
    yield Play(
        "updatable_timer",
        (
            Act(
                "updatable_timer/worker.py",
                ("updatable_timer/starter.py", "updatable_timer/wake_up_time_updater.py"),
                runs_s=12,
            ),
        ),
    )
    yield Play(
        "sleep_for_days",
        (Act("sleep_for_days/worker.py", ("sleep_for_days/starter.py &",), runs_s=12),),
        note="looked at in its first month",
    )
    yield Play(
        "schedules",
        (
            Act(
                "schedules/run_worker.py",
                tuple(
                    f"schedules/{verb}_schedule.py"
                    for verb in ("start", "trigger", "backfill", "describe", "pause", "delete")
                ),
                runs_s=4,
            ),
        ),
    )
    yield Play(
        "dsl",
        (Act("dsl/worker.py", ("dsl/starter.py dsl/workflow1.yaml", "dsl/starter.py dsl/workflow2.yaml")),),
        needs=("yaml", "dacite"),
    )
    yield _pair(
        "encryption",
        needs=("cryptography",),
        note="with cryptography < 39, as it asks: later ones cannot be loaded twice",
    )
    yield _pair("pydantic_converter", needs=("pydantic",))
    for name in (
        "custom_converter", "context_propagation", "resource_pool", "batch_sliding_window", "worker_specific_task_queues",
    ):  # fmt: skip
        yield _pair(name)
    yield Play("custom_decorator", (Act("custom_decorator/worker.py", ("custom_decorator/starter.py &",), runs_s=12),))


def _pair(folder: str, *, needs: tuple[str, ...] = (), note: str = "") -> Play:
    return Play(folder, (Act(f"{folder}/worker.py", (f"{folder}/starter.py",)),), needs, note)


def _patching() -> Iterator[Play]:
    """Each version of the code takes over the runs of the one before."""
    versions = ("initial", "patched", "patch-deprecated", "patch-complete")
    for before, after in itertools.pairwise(versions):
        yield Play(
            f"patching: {before} → {after}",
            tuple(
                Act(
                    f"patching/worker.py --workflow {version}",
                    (
                        f"patching/starter.py --start-workflow {version}-id",
                        f"patching/starter.py --query-workflow {version}-id",
                    ),
                    runs_s=2,
                )
                for version in (before, after)
            ),
        )
