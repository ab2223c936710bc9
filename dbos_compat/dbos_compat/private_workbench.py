"""The SDK's workflow worker for a workbench: runs of many task queues, one after the other, all of them inline.

Like ``private`` it knows private names of temporalio, and nobody else does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.workflow import _Definition

from dbos_compat.private import WorkflowHost
from dbos_compat.sdk_release import Name, verify

_WORKFLOW_WORKER = ("_extern_functions", "_task_queue")
_LOCAL_ACTIVITY_CHECK = "__temporal_assert_local_activity_valid"


class BenchHost(WorkflowHost):
    """A host whose runs each say which task queue they are of: a workflow reads it in its info, and activities go there
    that name none."""

    def __init__(self, host: WorkflowHost) -> None:
        """``host`` is the one that the SDK's worker was given; it is not used any more."""
        super().__init__(host._worker)
        verify([Name(self._worker, name) for name in _WORKFLOW_WORKER if not hasattr(self._worker, name)])
        # Local activities are never run here, so nobody need have them (as in temporalio's own replayer).
        self._worker._extern_functions[_LOCAL_ACTIVITY_CHECK] = lambda activity: None
        self._queues: dict[str, str] = {}

    @property
    def inline(self) -> bool:
        """Are instances activated on the event loop, without the SDK's thread pool?"""
        return self._inline_allowed

    def decide_patches(self, decide: Callable[[str], bool] | None) -> None:
        """What ``workflow.patched()`` answers when a patch is asked for the first time, not on replay: by patch id. None: as
        the worker says, which is yes. Releases before temporalio 1.35 always say yes."""
        if hasattr(self._worker, "_patch_activation_callback"):
            before = self.__dict__.setdefault("_patches_before", self._worker._patch_activation_callback)
            self._worker._patch_activation_callback = before if decide is None else lambda asked: decide(asked.patch_id)

    def opened(self, run_id: str, task_queue: str) -> None:
        """An instance for this run is going to be made."""
        self._queues[run_id] = task_queue

    def activate(
        self, activation: WorkflowActivation, workflow_type: str
    ) -> WorkflowActivationCompletion | Awaitable[WorkflowActivationCompletion]:
        queue = self._queues.pop(activation.run_id, None)
        if self._inline_allowed:
            # There is nobody on this event loop whom a slow activation would keep waiting.
            self._quick[workflow_type] = True
        if queue is not None:  # the first one
            self._worker._task_queue = queue
            init: Any = next(
                (j.initialize_workflow for j in activation.jobs if j.HasField("initialize_workflow")), None
            )
            if self._inline_allowed and init is not None and activation.run_id not in self._worker._running_workflows:
                try:
                    self._create(activation, init)
                except Exception as error:
                    return self._creation_failed(activation, error)
        return super().activate(activation, workflow_type)


def is_workflow(found: object) -> bool:
    """Is it a class that ``@workflow.defn`` has decorated itself? (A subclass that has not is none.)"""
    return isinstance(found, type) and _Definition.from_class(found) is not None


def workflow_type(found: type) -> str | None:
    """Under which name the server knows a workflow class; None: it is dynamic, or no workflow."""
    definition = _Definition.from_class(found)
    return None if definition is None else definition.name


def abandon(host: WorkflowHost) -> bool:
    """Forget the activations of a host that are under way: the event loop on which they were has been dropped. Were there any?"""
    any_ = bool(host._expected)
    host._expected.clear()
    host._leaving.clear()
    host.limit(100)
    return any_


def left_in(host: WorkflowHost) -> list[str]:
    """Run ids of the instances that a host has."""
    return list(host._worker._running_workflows)
