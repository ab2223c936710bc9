"""The ledger of differences from Temporal: one entry, three readers.

An entry feeds the text of the error that names it, the page ``migration_guides/differences.md`` (``page``) and the
conformance exclusions. Slugs are stable: errors and issues link to them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

GUIDE = "migration_guides/differences.md"


class Kind(enum.Enum):
    UNSUPPORTED = "Not supported"
    """Using it raises an error that names the entry."""
    DIFFERENT = "Works differently"
    """Works, with a difference that a user may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as on Temporal."""

    slug: str
    feature: str
    """What the error names, and the title of the entry."""
    advice: str
    """What to do: full sentences."""
    kind: Kind = Kind.UNSUPPORTED
    since: str = "0.1.0"
    rpcs: tuple[str, ...] = ()
    """RPC names that answer with this entry."""
    conformance: tuple[str, ...] = ()
    """What it keeps from passing of Temporal's own tests: groups of ``tests/conformance``, or beginnings of ids."""

    @property
    def anchor(self) -> str:
        """Where the guide explains it."""
        return f"{GUIDE}#{self.slug}"


_ENTRIES: tuple[Difference, ...] = (
    # -- not supported ---------------------------------------------------------------------------------------------
    Difference(
        slug="nexus",
        feature="Nexus endpoints and operations",
        advice="Call the other service from an activity. A worker may have Nexus handlers, so that its other work goes on; "
        "nothing can reach them, and a warning says so.",
        rpcs=(
            "create_nexus_endpoint",
            "delete_nexus_endpoint",
            "update_nexus_endpoint",
            "get_nexus_endpoint",
            "list_nexus_endpoints",
            "poll_nexus_task_queue",
            "respond_nexus_task_completed",
            "respond_nexus_task_failed",
            "start_nexus_operation_execution",
            "poll_nexus_operation_execution",
            "describe_nexus_operation_execution",
            "request_cancel_nexus_operation_execution",
            "terminate_nexus_operation_execution",
            "delete_nexus_operation_execution",
            "list_nexus_operation_executions",
            "count_nexus_operation_executions",
        ),
        conformance=("S1", "S2"),
    ),
    Difference(
        slug="post-reset-operations",
        feature="Operations to apply after a reset (post_reset_operations)",
        advice="Send the signal, or change the options, after the reset.",
    ),
    Difference(
        slug="pause-workflow",
        feature="Pausing a workflow",
        advice="Let the workflow wait for a signal instead.",
        rpcs=("pause_workflow_execution", "unpause_workflow_execution"),
    ),
    Difference(
        slug="standalone-activities",
        feature="Activities without a workflow",
        advice="Start a workflow that runs the one activity.",
        rpcs=(
            "start_activity_execution",
            "poll_activity_execution",
            "describe_activity_execution",
            "request_cancel_activity_execution",
            "terminate_activity_execution",
            "delete_activity_execution",
            "pause_activity_execution",
            "unpause_activity_execution",
            "reset_activity_execution",
            "update_activity_execution_options",
            "list_activity_executions",
            "count_activity_executions",
        ),
        conformance=("S3",),
    ),
    Difference(
        slug="worker-versioning",
        feature="Worker deployments, build-id routing and versioning overrides",
        advice="Give a new version its own task queue.",
        rpcs=(
            "update_worker_build_id_compatibility",
            "get_worker_build_id_compatibility",
            "get_worker_task_reachability",
            "update_worker_versioning_rules",
            "get_worker_versioning_rules",
            "describe_deployment",
            "list_deployments",
            "get_deployment_reachability",
            "get_current_deployment",
            "set_current_deployment",
            "create_worker_deployment",
            "create_worker_deployment_version",
            "describe_worker_deployment",
            "describe_worker_deployment_version",
            "list_worker_deployments",
            "delete_worker_deployment",
            "delete_worker_deployment_version",
            "set_worker_deployment_current_version",
            "set_worker_deployment_ramping_version",
            "set_worker_deployment_manager",
            "update_worker_deployment_version_metadata",
            "update_worker_deployment_version_compute_config",
            "validate_worker_deployment_version_compute_config",
        ),
        conformance=("S4",),
    ),
    Difference(
        slug="workflow-options",
        feature="Changing the options of a running workflow",
        advice="Start the workflow with the options it needs.",
        rpcs=("update_workflow_execution_options",),
    ),
    Difference(
        slug="completion-callbacks",
        feature="Completion callbacks on a workflow start",
        advice="Notify the other party from the last activity of the workflow.",
    ),
    Difference(
        slug="on-conflict-options",
        feature="Attaching a start request to the run that it finds (on_conflict_options)",
        advice="Leave the options out: with the conflict policy USE_EXISTING the start finds the run all the same, and its "
        "request id leaves no event there. temporalio's own client sets them only for Nexus operations.",
    ),
    Difference(
        slug="time-skipping",
        feature="The time-skipping test service",
        advice="In tests, dbos_compat.testing.WorkflowEnvironment skips time, with Temporal's names and without a server.",
        rpcs=(
            "lock_time_skipping",
            "unlock_time_skipping",
            "unlock_time_skipping_with_sleep",
            "sleep",
            "sleep_until",
            "get_current_time",
            "poll_workflow_execution_time_skipping",
        ),
        conformance=("H1",),
    ),
    Difference(
        slug="test-server",
        feature="A test environment with a server that other programs reach (port, web UI, database file, server flags)",
        advice="Leave the argument out: a test environment is in memory. For several processes start an embedded Postgres.",
    ),
    Difference(
        slug="namespaces",
        feature="Creating, changing or deleting namespaces by RPC",
        advice="A namespace is a schema: it is created when a client connects with its name.",
        rpcs=("register_namespace", "update_namespace", "deprecate_namespace", "delete_namespace"),
    ),
    Difference(
        slug="worker-polls",
        feature="Polling for tasks over the service",
        advice="Run temporalio's Worker on a client from dbos_compat.connect(): it needs no polling RPCs.",
        rpcs=(
            "poll_workflow_task_queue",
            "respond_workflow_task_completed",
            "respond_workflow_task_failed",
            "poll_activity_task_queue",
            "respond_query_task_completed",
            "shutdown_worker",
            "record_worker_heartbeat",
            "describe_task_queue",
            "list_task_queue_partitions",
            "list_workers",
            "describe_worker",
            "count_workers",
            "fetch_worker_config",
            "update_worker_config",
            "update_task_queue_config",
        ),
    ),
    Difference(
        slug="workflow-rules",
        feature="Workflow rules",
        advice="Put the decision into the workflow.",
        rpcs=(
            "create_workflow_rule",
            "describe_workflow_rule",
            "delete_workflow_rule",
            "list_workflow_rules",
            "trigger_workflow_rule",
        ),
    ),
    Difference(
        slug="remote-clusters",
        feature="Remote clusters and archival",
        advice="Use what Postgres offers: replication, backups, dumps.",
        rpcs=(
            "add_or_update_remote_cluster",
            "remove_remote_cluster",
            "list_clusters",
            "list_archived_workflow_executions",
        ),
    ),
    Difference(
        slug="custom-slot-supplier",
        feature="Slot suppliers of one's own (CustomSlotSupplier)",
        advice="Use FixedSizeSlotSupplier, or the worker's max_concurrent_... options.",
    ),
    Difference(
        slug="cloud-api",
        feature="Temporal Cloud's control API",
        advice="There is no control plane: the database is the cluster.",
    ),
    Difference(
        slug="connection-options",
        feature="Options of Client.connect that lead to a Temporal server",
        advice="`connect()` takes `retry_config`, `keep_alive_config`, `dns_load_balancing_config`, `grpc_compression`, "
        "`payload_limits` and `rpc_metadata`, which have nothing to act on: calls wait for a database that is away until "
        "their RPC timeout, keep-alive and further hosts are parameters of the database URL, and no server reads metadata. "
        "Everything about TLS, users and passwords stands in the database URL.",
    ),
    # -- works differently -----------------------------------------------------------------------------------------
    Difference(
        slug="search-attribute-registration",
        kind=Kind.DIFFERENT,
        feature="Search attributes need no registration",
        advice="Temporal refuses a start with a name that was not added before. Here any name is accepted, with the "
        "type its value says, and a filter on a name that no run has finds nothing. As soon as names are added (with "
        "`add_search_attributes`), filters may name only those and compare them only with values of their type, as on "
        "Temporal, and a start or a workflow may give them only such values. A worker knows what was added before it began: "
        "until a restart it lets workflows give any value to what was added later. An upsert that names no type takes the "
        "type that the attribute has in this run already, or the one that its value says.",
    ),
    Difference(
        slug="list-order-by",
        kind=Kind.DIFFERENT,
        feature="ORDER BY works in list filters",
        advice="Temporal accepts it on Elasticsearch only; on SQL stores it refuses the query. Without it the order is "
        "Temporal's: open runs first, then by close time and start time, newest first.",
    ),
    Difference(
        slug="visibility-is-immediate",
        kind=Kind.DIFFERENT,
        feature="Listings are never behind",
        advice="Temporal's visibility store lags. Here list and count read the same rows that start and close write.",
    ),
    Difference(
        slug="times-in-milliseconds",
        kind=Kind.DIFFERENT,
        feature="Times of runs are whole milliseconds",
        advice="Temporal keeps microseconds and more: start, execution and close times, those of events, and what list filters "
        "compare. Here a run that took less than a millisecond has an ExecutionDuration of 0. Times in search attributes "
        "keep their microseconds.",
    ),
    Difference(
        slug="filters-on-history-size",
        feature="HistorySizeBytes and StateTransitionCount in list filters",
        advice="Use HistoryLength, which closed runs have.",
    ),
    Difference(
        slug="state-transition-count",
        kind=Kind.DIFFERENT,
        feature="describe() shows no state_transition_count",
        advice="Temporal counts its own writes for a run with it. Here history_length and history_size_bytes say how long a "
        "run has become.",
    ),
    Difference(
        slug="workers-of-pending-activities",
        kind=Kind.DIFFERENT,
        feature="A pending activity may be shown as its database rows know it",
        advice="Most attempts leave no row when they start, so describe() asks the process that owns the run. If that does "
        "not answer within a second (it has died, stands still, or its event loop is blocked), what the rows say is shown: "
        "SCHEDULED for an attempt that runs without maximum_attempts and has sent no heartbeat details, and no "
        "last_worker_identity between two attempts. Nor do rows keep who ran an attempt that had failed before the run was "
        "taken over. While an attempt runs in a process that does not own the run, and of a process that died, the identity "
        "of the client is shown, also where its worker was given one of its own.",
    ),
    Difference(
        slug="batch-jobs-are-no-workflows",
        kind=Kind.DIFFERENT,
        feature="A batch operation is no workflow",
        advice="On Temporal it is a hidden workflow of its job id, which a filter on TemporalNamespaceDivision finds. Here "
        "only the RPCs for batch operations see it. Several may run at the same time, and the rate that a request asks for "
        "is kept.",
    ),
    Difference(
        slug="pending-of-closed-runs",
        kind=Kind.DIFFERENT,
        feature="Describing a closed run shows no pending activities and children",
        advice="Temporal goes on listing those that were under way when it closed.",
    ),
    Difference(
        slug="history-details",
        kind=Kind.DIFFERENT,
        feature="Some workflow tasks and events stand elsewhere in a history",
        advice="A workflow task stands behind all messages that it was given, as it is written when it has been done; on "
        "Temporal its scheduled event stands behind the start or the first of them. The messages of one task stand in the "
        "order in which the workflow is told of them, signals first: a signal that was sent after a cancel "
        "request, and is heard in the same task, stands before it. A local activity ends its workflow task, as on Temporal "
        "one does that takes long. An activity that was cancelled with TRY_CANCEL leaves no event when it ends later. "
        "Temporal's Replayer accepts these histories.",
    ),
    Difference(
        slug="failed-tasks-in-history",
        kind=Kind.DIFFERENT,
        feature="Failed workflow tasks leave the history when the run goes on",
        advice="Temporal's server writes down the first of the failures that follow each other (two, where an update is to "
        "blame), and they stay. Here the first one is in the history as long as the task fails, and for good in a run that is "
        "then terminated or times out. The task that succeeds takes its place, so history_length counts no failure either. "
        "How many there were is in the log and in the metric `temporal_workflow_task_execution_failed`. A task that timed out "
        "is never in a history.",
    ),
    Difference(
        slug="local-activities-beside-others",
        kind=Kind.DIFFERENT,
        feature="A local activity holds up nothing else",
        advice="On Temporal the other commands of its workflow task wait until it has ended, or the task is nearly over, and "
        "so do signals, queries and updates. Here a timer beside it begins when it was asked for, and messages reach the "
        "workflow meanwhile.",
    ),
    Difference(
        slug="local-activity-schedule-to-close",
        kind=Kind.DIFFERENT,
        feature="A schedule-to-close timeout ends a local activity between two attempts, too",
        advice="Temporal's worker (temporalio 1.35) forgets the timeout when it is over while a local activity waits for its "
        "next attempt: attempts go on.",
    ),
    Difference(
        slug="cancelling-a-continued-child",
        kind=Kind.DIFFERENT,
        feature="A cancel request to a child that has continued as new reaches the run that is open",
        advice="Temporal addresses it to the child's first run, where it is lost: the child goes on.",
    ),
    Difference(
        slug="children-over-a-reset",
        kind=Kind.DIFFERENT,
        feature="Children that had begun before the point of a reset belong to the new run",
        advice="They are described as its children, and hear what it sends through their handles. On Temporal they stay the "
        "old run's: such a signal fails (`ExternalWorkflowExecutionNotFound`). How they end reaches the new run on both.",
    ),
    Difference(
        slug="run-ids-of-children",
        kind=Kind.DIFFERENT,
        feature="The run id of a child is a UUID of version 5",
        advice="It is derived from its parent's, which is how a child that was started twice, after a crash, is one. Temporal "
        "draws one of version 7, which says when the run began; sort by StartTime instead.",
    ),
    Difference(
        slug="cancelled-while-signalling",
        kind=Kind.DIFFERENT,
        feature="A cancellation that comes together with the answer to a signal for another workflow fails no task",
        advice="Temporal's Python SDK lets no cancellation through while a workflow sends a signal to another one: it is "
        "lost, there and here. When it comes in the very task that has the answer, Temporal's worker fails that task again "
        "and again (`Invalid transition in state machine`); here the run goes on. Where a cancellation has to be heard, wait "
        "for `asyncio.shield(handle.signal(...))`.",
    ),
    Difference(
        slug="words-of-text-attributes",
        kind=Kind.DIFFERENT,
        feature="Words of Text search attributes are told apart by case outside ASCII",
        advice="Temporal leaves it to the visibility store how a text is cut into words. Here words stand between white "
        "space and ASCII punctuation, and `A` equals `a`, while `Ä` is not `ä`.",
    ),
    Difference(
        slug="build-ids-attribute",
        kind=Kind.DIFFERENT,
        feature="The search attributes BuildIds, TemporalPauseInfo and TemporalReportedProblems are not filled in",
        advice="Temporal's server writes which builds have worked on a run, which activities are paused and why tasks fail "
        "into them. Here describe shows paused activities and failing tasks, and `dbos-compat runs` the versions. Nor are "
        "there automatic reset points: name a workflow task.",
    ),
    Difference(
        slug="schedule-conflict-token",
        kind=Kind.DIFFERENT,
        feature="An update of a schedule with an outdated conflict token is refused",
        advice="As Temporal's API says; its server drops such an update without a word. Temporal's Python client sends "
        "no token.",
    ),
    Difference(
        slug="schedule-zones",
        kind=Kind.DIFFERENT,
        feature="The time zone Local of a schedule is UTC, and a day that a zone has left out is passed over",
        advice="On Temporal `Local` is the zone of the server's machine, which mostly is UTC. Here several processes may fire "
        "a schedule, whose machines need not agree. Samoa had no 30 December 2011: on Temporal the times of a calendar or "
        "cron string come back to the day before from there, again and again; here they go on with the 31st. At every other "
        "change of clocks the times are Temporal's.",
    ),
    Difference(
        slug="schedules-are-fired-by-workers",
        kind=Kind.DIFFERENT,
        feature="Schedules are fired by your own processes",
        advice="Every process with a worker fires the schedules of its namespace, and so does one that has created or "
        "changed a schedule, as long as it lives. While there is none, nothing is started; whoever comes next makes up "
        "for it within the catch-up window, as Temporal does after an outage of its server.",
    ),
    Difference(
        slug="chains-without-pause",
        feature="Runs that follow each other begin without a pause",
        advice="Temporal lets runs of one workflow begin no more often than once a second: it delays a run that follows one "
        "which has lived for less. Here a continued or retried run begins as soon as its policy says.",
        kind=Kind.DIFFERENT,
    ),
    Difference(
        slug="task-timeout",
        feature="task_timeout",
        advice="A workflow task runs in the process that owns the run, and is not given to another one when it takes longer: "
        "the deadlock detector of Temporal's SDK bounds it and, if the process dies, the lease. The value is kept and shown.",
        kind=Kind.DIFFERENT,
    ),
    Difference(
        slug="limits-per-run",
        kind=Kind.DIFFERENT,
        feature="The limits of Temporal's server for one run do not apply",
        advice="A Temporal server refuses the eleventh update that is under way and the 2,001st of a run, and the 10,001st "
        "signal; it fails a workflow task that leaves more than 2,000 activities, children, signals or cancel requests "
        "pending, and terminates a run at 51,200 events or 50 MiB of history. Here none of these is refused. Continue-as-new "
        "is suggested as there, from 4,096 events or 4 MiB on; do it, since a run is replayed from its beginning whenever it "
        "comes back into memory. The limits for the size of a payload do apply.",
    ),
    Difference(
        slug="durable-updates",
        kind=Kind.DIFFERENT,
        feature="Updates are durable as soon as they are admitted",
        advice="Temporal keeps an update in memory until a worker accepts it. Here it survives restarts from the start.",
    ),
    Difference(
        slug="priority",
        kind=Kind.DIFFERENT,
        feature="Priorities and fairness keys are stored, inherited and shown, and do not order the work",
        advice="Describe, histories, `workflow.info()` and `activity.info()` tell them as on Temporal, and a child has those of "
        "its parent where it is not given others. Which task comes first they do not say: give urgent work a task queue of "
        "its own.",
        conformance=("S8",),
    ),
    Difference(
        slug="timers-on-time",
        kind=Kind.DIFFERENT,
        feature="Timers ring on time",
        advice="On a Temporal server a timer takes one second at least, also one of a tenth of a second. Code that counted on "
        "the longer wait finds its workflow further on than it was; `connect(shortest_timer=timedelta(seconds=1))` gives it "
        "the second back.",
    ),
    Difference(
        slug="rust-core",
        kind=Kind.DIFFERENT,
        feature="No Rust core works under clients and workers",
        advice="temporalio's own core is not started. What it alone writes (its log lines, its telemetry of polls) does "
        "not appear, and its objects behind private attributes of a client or worker are not there.",
        conformance=("H3", "H4", "H5"),
    ),
    Difference(
        slug="workflow-environment",
        kind=Kind.DIFFERENT,
        feature="WorkflowEnvironment.start_local() and start_time_skipping() start Temporal's own servers",
        advice="They work as ever, and are another engine. For tests on this one use a connection to a database of the "
        "test's own, `WorkflowEnvironment.from_client(client)` where an environment is asked for.",
        conformance=("H2",),
    ),
    Difference(
        slug="activity-reset-while-running",
        kind=Kind.DIFFERENT,
        feature="reset_activity reaches an attempt that runs, whatever its number",
        advice="Its next heartbeat learns of the reset, what it returns counts, and when it fails the second attempt "
        "follows. Temporal's server (1.32) does so for a first attempt; a later one it forgets, so that what it returns "
        "is lost and the next attempt waits for a timeout.",
    ),
    Difference(
        slug="changed-activity-options",
        kind=Kind.DIFFERENT,
        feature="Options that an operator changed are what activity.info() shows",
        advice="Temporal enforces the new timeouts and shows an attempt the old ones.",
    ),
    Difference(
        slug="resource-based-slots",
        kind=Kind.DIFFERENT,
        feature="A resource-based slot supplier counts as its maximum number of slots",
        advice="Nothing here measures CPU or memory. Set `maximum_slots` to what the machine bears, or use a fixed size.",
    ),
    Difference(
        slug="versioning-behavior",
        kind=Kind.DIFFERENT,
        feature="A versioning behavior of a workflow is accepted and has no effect",
        advice="Temporal's server does not take the tasks of a workflow with `versioning_behavior=` from a worker without "
        "versioning: they time out again and again. Workers here are never versioned (see `worker-versioning`), so "
        "workflows that come from versioned workers run as they are, on whatever code serves their queue.",
    ),
    Difference(
        slug="queue-rate-limit",
        kind=Kind.DIFFERENT,
        feature="max_task_queue_activities_per_second is shared out evenly",
        advice="Temporal's server holds a queue to it over all workers, however unevenly they are busy. Here each live process "
        "that sets it has an equal share, so a queue may stay below its rate while some of them have nothing to do. A "
        "process that comes or goes is counted within two seconds (one that dies, after its lease). Give all workers of a "
        "queue the same rate: who sets none is not held to it. A rate of 0 or less starts nothing at once; Temporal's server "
        "lets a few starts through before it notices.",
    ),
    Difference(
        slug="metric-prefix",
        kind=Kind.DIFFERENT,
        feature="Metrics begin with temporal_, and pollers have none",
        advice="A runtime does not tell which `metric_prefix` it was given: rename in your exporter or collector. Nothing "
        "polls here, so there is nothing to say about pollers.",
    ),
    Difference(
        slug="activity-raises-cancelled-error",
        kind=Kind.DIFFERENT,
        feature="An activity that raises CancelledError without being cancelled fails, and is retried",
        advice="Temporal's server refuses such a report and the attempt hangs until its timeout.",
    ),
)

LEDGER: Mapping[str, Difference] = {entry.slug: entry for entry in _ENTRIES}
"""Every difference, by slug."""

BY_RPC: Mapping[str, Difference] = {rpc: entry for entry in _ENTRIES for rpc in entry.rpcs}
"""Which entry explains that an RPC is not answered."""


def page(entries: Iterable[Difference] = _ENTRIES) -> str:
    """The text of ``migration_guides/differences.md``."""
    entries = list(entries)
    lines = [
        "# Differences from Temporal",
        "",
        "For a Temporal user who wants to know beforehand what will not be the same. Nothing is silently ignored: what is",
        "not supported raises an error that names its entry here.",
        "",
        "This page is printed from the ledger in `dbos_compat/differences.py`:",
        "",
        "    python -c 'from dbos_compat.differences import page; print(page(), end=\"\")' > migration_guides/differences.md",
    ]
    for kind in Kind:
        lines += ["", f"## {kind.value}"]
        for entry in (entry for entry in entries if entry.kind is kind):
            lines += ["", f'### <a id="{entry.slug}"></a>{entry.feature}', "", entry.advice]
            if entry.rpcs:
                lines += ["", "RPCs: " + ", ".join(f"`{rpc}`" for rpc in entry.rpcs) + "."]
            lines += ["", f"`{entry.slug}`, since {entry.since}."]
    lines += [
        "",
        "## The way back",
        "",
        "Workflow and activity files import temporalio alone. Put `Client.connect(...)` back where",
        "`dbos_compat.connect(...)` is, and the same code runs on a Temporal cluster again.",
    ]
    return "\n".join(lines) + "\n"
