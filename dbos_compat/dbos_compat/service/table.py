"""Which handler answers which RPC. Absent means unsupported: the ledger of differences says why.

Handlers know no transport: whoever has a request message and a :class:`~dbos_compat.service.common.Context` may call
them (temporalio's client in this process today; a gRPC front, a router or a mirror later).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbos_compat.service import (
    activities,
    batch,
    cancel,
    cluster,
    delete,
    describe,
    listing,
    multi,
    operate,
    outcome,
    query,
    reset,
    schedule_listing,
    schedules,
    signal,
    start,
    sticky,
    terminate,
    update,
)
from dbos_compat.service.common import Handler

WORKFLOW: Mapping[str, Handler[Any]] = {
    "start_workflow_execution": start.start_workflow_execution,
    "signal_with_start_workflow_execution": start.signal_with_start_workflow_execution,
    "execute_multi_operation": multi.execute_multi_operation,
    "signal_workflow_execution": signal.signal_workflow_execution,
    "request_cancel_workflow_execution": cancel.request_cancel_workflow_execution,
    "terminate_workflow_execution": terminate.terminate_workflow_execution,
    "delete_workflow_execution": delete.delete_workflow_execution,
    "reset_workflow_execution": reset.reset_workflow_execution,
    "query_workflow": query.query_workflow,
    "update_workflow_execution": update.update_workflow_execution,
    "poll_workflow_execution_update": update.poll_workflow_execution_update,
    "get_workflow_execution_history": outcome.get_workflow_execution_history,
    "get_workflow_execution_history_reverse": outcome.get_workflow_execution_history_reverse,
    "describe_workflow_execution": describe.describe_workflow_execution,
    "list_workflow_executions": listing.list_workflow_executions,
    "scan_workflow_executions": listing.scan_workflow_executions,
    "list_open_workflow_executions": listing.list_open_workflow_executions,
    "list_closed_workflow_executions": listing.list_closed_workflow_executions,
    "count_workflow_executions": listing.count_workflow_executions,
    "create_schedule": schedules.create_schedule,
    "describe_schedule": schedules.describe_schedule,
    "update_schedule": schedules.update_schedule,
    "patch_schedule": schedules.patch_schedule,
    "delete_schedule": schedules.delete_schedule,
    "list_schedules": schedule_listing.list_schedules,
    "count_schedules": schedule_listing.count_schedules,
    "list_schedule_matching_times": schedules.list_schedule_matching_times,
    "respond_activity_task_completed": activities.respond_activity_task_completed,
    "respond_activity_task_completed_by_id": activities.respond_activity_task_completed_by_id,
    "respond_activity_task_failed": activities.respond_activity_task_failed,
    "respond_activity_task_failed_by_id": activities.respond_activity_task_failed_by_id,
    "respond_activity_task_canceled": activities.respond_activity_task_canceled,
    "respond_activity_task_canceled_by_id": activities.respond_activity_task_canceled_by_id,
    "record_activity_task_heartbeat": activities.record_activity_task_heartbeat,
    "record_activity_task_heartbeat_by_id": activities.record_activity_task_heartbeat_by_id,
    "pause_activity": operate.pause_activity,
    "unpause_activity": operate.unpause_activity,
    "reset_activity": operate.reset_activity,
    "update_activity_options": operate.update_activity_options,
    "start_batch_operation": batch.start_batch_operation,
    "stop_batch_operation": batch.stop_batch_operation,
    "describe_batch_operation": batch.describe_batch_operation,
    "list_batch_operations": batch.list_batch_operations,
    "reset_sticky_task_queue": sticky.reset_sticky_task_queue,
    "get_system_info": cluster.get_system_info,
    "get_cluster_info": cluster.get_cluster_info,
    "describe_namespace": cluster.describe_namespace,
    "list_namespaces": cluster.list_namespaces,
    "get_search_attributes": cluster.get_search_attributes,
}

OPERATOR: Mapping[str, Handler[Any]] = {
    "list_search_attributes": cluster.list_search_attributes,
    "add_search_attributes": cluster.add_search_attributes,
    "remove_search_attributes": cluster.remove_search_attributes,
}

HEALTH: Mapping[str, Handler[Any]] = {"check": cluster.check}

SERVICES: Mapping[str, Mapping[str, Handler[Any]]] = {"workflow": WORKFLOW, "operator": OPERATOR, "health": HEALTH}
"""By the names that temporalio's client gives its services."""
