"""The fields a list filter may name: Temporal's system search attributes, with their types."""

from __future__ import annotations

from dbos_core.search import Field, FieldType

SYSTEM_FIELDS: dict[str, Field] = {
    "WorkflowId": Field.WORKFLOW_ID,
    "RunId": Field.RUN_ID,
    "WorkflowType": Field.WORKFLOW_TYPE,
    "ExecutionStatus": Field.STATUS,
    "TaskQueue": Field.TASK_QUEUE,
    "StartTime": Field.START_TIME,
    "ExecutionTime": Field.EXECUTION_TIME,
    "CloseTime": Field.CLOSE_TIME,
    "ExecutionDuration": Field.EXECUTION_DURATION,
    "HistoryLength": Field.HISTORY_LENGTH,
    "RootWorkflowId": Field.WORKFLOW_ID,
    "RootRunId": Field.RUN_ID,
}
"""Fields of the run's row. A run without a parent is its own root."""

SYSTEM_ATTRIBUTES: dict[str, FieldType] = {
    "WorkflowId": FieldType.KEYWORD,
    "RunId": FieldType.KEYWORD,
    "WorkflowType": FieldType.KEYWORD,
    "ExecutionStatus": FieldType.STATUS,
    "TaskQueue": FieldType.KEYWORD,
    "StartTime": FieldType.DATETIME,
    "ExecutionTime": FieldType.DATETIME,
    "CloseTime": FieldType.DATETIME,
    "ExecutionDuration": FieldType.DURATION,
    "HistoryLength": FieldType.INT,
    "RootWorkflowId": FieldType.KEYWORD,
    "RootRunId": FieldType.KEYWORD,
    "HistorySizeBytes": FieldType.INT,
    "StateTransitionCount": FieldType.INT,
    "ParentWorkflowId": FieldType.KEYWORD,
    "ParentRunId": FieldType.KEYWORD,
    "BatcherUser": FieldType.KEYWORD,
    "BatcherNamespace": FieldType.KEYWORD,
    "TemporalNamespaceDivision": FieldType.KEYWORD,
}
"""Names that the service fills: nobody may set them at a start."""

FILLED_BY_TEMPORAL = frozenset(SYSTEM_ATTRIBUTES) | {
    "BinaryChecksums",
    "BuildIds",
    "TemporalChangeVersion",
    "TemporalExternalPayloadCount",
    "TemporalExternalPayloadSizeBytes",
    "TemporalPauseInfo",
    "TemporalReportedProblems",
    "TemporalSchedulePaused",
    "TemporalScheduledById",
    "TemporalScheduledStartTime",
    "TemporalUsedWorkerDeploymentVersions",
    "TemporalWorkerDeployment",
    "TemporalWorkerDeploymentVersion",
    "TemporalWorkflowVersioningBehavior",
}
"""Names that a filter may always use. A run that lacks them lacks them on Temporal too."""
