"""What the samples do not say of themselves, what is left out and why, and what is known to break."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from temporalio.converter import DataConverter

from dbos_shadow.determinism import Message, Rule, may_fail, sends
from dbos_shadow.determinism.clocks import START_MS
from dbos_shadow.determinism.stage import TASK_QUEUE

Options = Callable[[ModuleType], dict[str, Any]]
"""Options of a plan, made with what the sample's own module has."""

LEFT_OUT: Mapping[str, str] = {
    "deepagents_plugin": "its workflow code is that of a plug-in, which asks a model on the internet",
    "google_adk_agents": "its workflow code is that of a plug-in, which asks a model on the internet",
    "google_genai": "its workflow code is that of a plug-in, which asks a model on the internet",
    "langfuse_tracing": "traces its workflows to a service on the internet",
    "langgraph_plugin": "its workflow code is that of a plug-in, which asks a model on the internet",
    "langsmith_tracing": "traces its workflows to a service on the internet",
    "openai_agents": "its workflow code is that of a plug-in, which asks a model on the internet",
    "strands_plugin": "its workflow code is that of a plug-in, which asks a model on the internet",
    "hello_nexus": "Nexus is not supported, by name",
    "nexus_cancel": "Nexus is not supported, by name",
    "nexus_messaging": "Nexus is not supported, by name",
    "nexus_multiple_args": "Nexus is not supported, by name",
    "nexus_standalone_operations": "Nexus is not supported, by name",
}
"""Folders that are not tried, and why."""


def beside(module: ModuleType, name: str) -> Any:
    """Another module of the same sample."""
    return importlib.import_module(f"{module.__name__.rpartition('.')[0]}.{name}")


def moments(module: ModuleType) -> Any:
    """Times around the beginning of a schedule, as numbers."""
    return st.sampled_from([START_MS / 1000 + after_s for after_s in (3_600.0, 60.0, 0.0, -60.0, 86_400.0)])


def _sliding_window(m: ModuleType) -> dict[str, Any]:
    record = m.SingleRecord
    pages = [[record(0), record(1)], [record(0)], [], [record(2), record(1), record(0)]]
    return {
        "args": m.SlidingWindowWorkflowInput(page_size=2, sliding_window_size=2, offset=0, maximum_offset=4),
        "activities": {
            m.RecordLoader.get_records: may_fail(value=st.sampled_from([m.GetRecordsOutput(p) for p in pages]))
        },
        "signals": [Message("signal", "report_completion", (st.sampled_from([0, 1, 2]),), at_most=4)],
        "queries": [Message("query", "state")],
    }


def _script(m: ModuleType) -> dict[str, Any]:
    loaded = importlib.import_module("yaml").safe_load((Path(str(m.__file__)).parent / "workflow1.yaml").read_text())
    return {"args": importlib.import_module("dacite").from_dict(m.DSLInput, loaded)}


TOLD: Mapping[str, Options] = {
    "batch_sliding_window/batch_workflow.py:ProcessBatchWorkflow": lambda m: {
        "args": m.ProcessBatchWorkflowInput(page_size=2, sliding_window_size=4, partitions=2),
        "activities": {m.RecordLoader.get_record_count: may_fail(value=st.sampled_from([10, 0, 1]))},
    },
    "batch_sliding_window/sliding_window_workflow.py:SlidingWindowWorkflow": _sliding_window,
    "bedrock/signals_and_queries/workflows.py:SignalQueryBedrockWorkflow": lambda m: {
        "args": st.sampled_from([5, 1])  # minutes: most numbers are too many for a clock
    },
    "cloud_export_to_parquet/workflows.py:ProtoToParquet": lambda m: {
        "args": m.ProtoToParquetWorkflowInput(
            2, "from", "default", "to"
        )  # hours before now, of which there are not that many
    },
    "context_propagation/workflows.py:SayHelloWorkflow": lambda m: {
        "client_options": {"interceptors": [beside(m, "interceptor").ContextPropagationInterceptor()]}
    },
    "custom_converter/workflow.py:GreetingWorkflow": lambda m: {
        "args": m.GreetingInput("Ada"),
        "client_options": {"data_converter": beside(m, "shared").greeting_data_converter},
    },
    "dsl/workflow.py:DSLWorkflow": _script,
    "encryption/worker.py:GreetingWorkflow": lambda m: {
        "client_options": {
            "data_converter": dataclasses.replace(DataConverter.default, payload_codec=m.EncryptionCodec())
        }
    },
    "gevent_async/workflow.py:GreetingWorkflow": lambda m: {
        "activities": {  # both say the same, as it demands
            activity: may_fail(value="Hello, Ada!") for activity in (m.compose_greeting_async, m.compose_greeting_sync)
        }
    },
    "hello/hello_continue_as_new.py:LoopingWorkflow": lambda m: {
        "args": st.sampled_from([8, 9, 10])  # from 11 on it never ends
    },
    "hello/hello_cron.py:GreetingWorkflow": lambda m: {"start_options": {"cron_schedule": "* * * * *"}},
    "hello/hello_patch.py:MyWorkflow": lambda m: {"then": m.MyWorkflowPatched},
    "hello/hello_search_attributes.py:GreetingWorkflow": lambda m: {
        "start_options": {"search_attributes": {"CustomKeywordField": ["old-value"]}}
    },
    "patching/workflow_1_initial.py:MyWorkflow": lambda m: {"then": beside(m, "workflow_2_patched").MyWorkflow},
    "patching/workflow_2_patched.py:MyWorkflow": lambda m: {
        "then": beside(m, "workflow_3_patch_deprecated").MyWorkflow
    },
    "patching/workflow_3_patch_deprecated.py:MyWorkflow": lambda m: {
        "then": beside(m, "workflow_4_patch_complete").MyWorkflow
    },
    "pydantic_converter/worker.py:MyWorkflow": lambda m: {
        "client_options": {"data_converter": m.pydantic_data_converter}
    },
    "updatable_timer/workflow.py:Workflow": lambda m: {
        "args": moments(m),
        "signals": [sends(m.Workflow.update_wake_up_time, moments(m))],
    },
    "worker_specific_task_queues/tasks.py:FileProcessing": lambda m: {
        "activities": {m.get_available_task_queue: may_fail(value=TASK_QUEUE)}
    },
    "worker_versioning/workflows.py:AutoUpgradingWorkflowV1": lambda m: {"then": m.AutoUpgradingWorkflowV1b},
    "workflow_streams/workflows/ticker_workflow.py:TickerWorkflow": lambda m: {"args": m.TickerInput(count=4)},
}
"""What a class does not say of itself."""


@dataclass(frozen=True, slots=True)
class Known:
    """The kit is right: this sample breaks a rule."""

    rule: Rule
    why: str
    """In a sentence or two."""
    without: Options
    """A world in which that does not happen: all else must hold there."""


def _not_cancelled(m: ModuleType) -> dict[str, Any]:
    return {"cancels": False}


def _one_process_number(m: ModuleType) -> dict[str, Any]:
    setattr(m, "os", SimpleNamespace(getpid=lambda: 1))  # noqa: B010
    return {}


KNOWN: Mapping[str, Known] = {
    "custom_decorator/worker.py:WaitForCancelWorkflow": Known(
        Rule.TASK_FAILS,
        "A signal that comes before the first task, when no worker is there yet, is handled before `run`, which makes the "
        "attribute that the handler uses: the task fails for ever, on a Temporal server too. `@workflow.init` is for that.",
        lambda m: {"signals": []},
    ),
    "hello/hello_change_log_level.py:GreetingWorkflow": Known(
        Rule.TASK_FAILS,
        "It raises an error that is no failure, to show how that is logged: its task fails for ever.",
        lambda m: {"allow": ["task-failures"], "cancels": False},
    ),
    "message_passing/waiting_for_handlers_and_compensation/workflows.py:WaitingForHandlersAndCompensationWorkflow": Known(
        Rule.TASK_FAILS,
        "It sets the result of a future before it waits for its handlers. A cancellation that comes meanwhile sets an "
        "exception on the same future: `InvalidStateError`, which fails the task, for ever.",
        _not_cancelled,
    ),
    "polling/periodic_sequence/workflows.py:ChildWorkflow": Known(
        Rule.CANCEL_ENDS,
        "`except ActivityError` swallows the cancellation that reaches it through the activity: it polls on.",
        _not_cancelled,
    ),
    "resource_pool/pool_client/resource_pool_workflow.py:ResourcePoolWorkflow": Known(
        Rule.CANCEL_ENDS,
        "A cancellation that comes while it sends a signal to another workflow is lost in the SDK, on a Temporal server too: "
        "it goes on for ever. `asyncio.shield(handle.signal(...))` would hear of it.",
        _not_cancelled,
    ),
    "worker_multiprocessing/workflows.py:ParallelizedWorkflow": Known(
        Rule.HASH_SEED,
        "It gives `os.getpid()` to an activity, to show in which process it runs: another process, another input.",
        _one_process_number,
    ),
}
