-- dbos-compat's own schema, version 1. {own} and {dbos} are the two schema names of one namespace.
-- What a replay needs is in {dbos} (stock fork and delete know only those tables); here is what DBOS has no place for.

create table {own}.meta (
    key   text primary key,
    value text not null
);

-- The clock that leases, wake times and claims are judged by. A test session can set it.
create function {own}.now_ms() returns bigint language sql volatile as $$
    select coalesce(
        nullif(current_setting('dbos_compat.now_ms', true), '')::bigint,
        (extract(epoch from clock_timestamp()) * 1000)::bigint)
$$;

-- One row per process incarnation; its key is executor id, owner token (owner_xid) and lease in one.
create table {own}.processes (
    process_id          text   primary key,
    identity            text   not null,
    application_version text   not null,
    task_queues         text[] not null default '{}',
    started_ms          bigint not null,
    lease_until_ms      bigint not null
);

-- One row per run. The journal is in {dbos}.operation_outputs, start record and result beside it.
create table {own}.runs (
    workflow_uuid        text     primary key
                                  references {dbos}.workflow_status (workflow_uuid) on update cascade on delete cascade,
    workflow_id          text     not null,
    run_id               text     not null unique,
    first_run_id         text     not null,
    workflow_type        text     not null,
    task_queue           text     not null,
    is_current           boolean  not null default true,
    status               smallint not null default 1,
    owner                text,
    wake_at_ms           bigint,
    last_mail_ms         bigint   not null default 0,
    watched              boolean  not null default false,
    request_id           text,
    start_ms             bigint   not null,
    execution_ms         bigint   not null,
    close_ms             bigint,
    deadline_ms          bigint,
    history_length       integer  not null default 0,
    memo                 text,
    search_attributes    jsonb,
    metadata             text,
    close                text,
    -- of a child: its parent, the number by which that knows it, what becomes of it when the parent closes, its root
    parent_workflow_uuid text,
    parent_workflow_id   text,
    parent_run_id        text,
    parent_seq           integer,
    parent_policy        smallint,
    root_workflow_id     text,
    root_run_id          text,
    task_attempt         integer  not null default 1,
    task_failure         text,
    -- a closed run is owned by nobody and has its closing record; an open one has neither closing time nor record
    constraint runs_closed check ((status = 1) = (close is null) and (status = 1) = (close_ms is null)
                                  and (status = 1 or owner is null))
) with (fillfactor = 85);

-- The id policies rest on this: one current run per workflow id.
create unique index runs_current on {own}.runs (workflow_id) where is_current;
create index runs_runnable on {own}.runs (task_queue, wake_at_ms) where owner is null and status = 1;
create index runs_owner on {own}.runs (owner) where owner is not null;
create index runs_deadline on {own}.runs (deadline_ms) where status = 1 and deadline_ms is not null;
create index runs_children on {own}.runs (parent_run_id) where status = 1 and parent_run_id is not null;
-- Listing, in its usual order backwards (open runs first, then by closing and starting time); retention forwards.
create index runs_listing on {own}.runs (coalesce(close_ms, 9223372036854775807), start_ms, run_id collate "C");
-- Filters, in the order of bytes. Closed runs that did not simply complete are few; open and completed ones are found by
-- the listing's own index.
create index runs_id on {own}.runs (workflow_id collate "C");
create index runs_type on {own}.runs (workflow_type collate "C");
create index runs_started on {own}.runs (start_ms);
create index runs_ended_otherwise on {own}.runs (status, coalesce(close_ms, 9223372036854775807)) where status > 2;
create index runs_parent on {own}.runs (parent_workflow_id) where parent_workflow_id is not null;
create index runs_root on {own}.runs (root_workflow_id collate "C") where root_workflow_id is not null;
create index runs_search on {own}.runs using gin (search_attributes jsonb_path_ops) where search_attributes is not null;

-- Closed runs of which others must still hear (parent, children), and the process that sees to it.
create table {own}.outbox (
    workflow_uuid text primary key references {dbos}.workflow_status (workflow_uuid) on update cascade on delete cascade,
    process_id    text not null
);
create index outbox_process on {own}.outbox (process_id);

-- Open activities that need more than the journal: bounded attempts, failed attempts, heartbeats, offers to others.
create table {own}.activities (
    workflow_uuid    text    not null
                             references {dbos}.workflow_status (workflow_uuid) on update cascade on delete cascade,
    seq              integer not null,
    task_queue       text    not null,
    attempt          integer not null,
    scheduled_ms     bigint  not null,
    due_ms           bigint  not null,
    started_ms       bigint,
    worker           text,
    offered          boolean not null default false,
    spec             text,
    heartbeat        text,
    heartbeat_at_ms  bigint,
    last_failure     text,
    cancel_requested boolean not null default false,
    ended_ms         bigint,
    operator         text,
    primary key (workflow_uuid, seq)
);
create index activities_offered on {own}.activities (task_queue, due_ms) where offered and worker is null;
create index activities_worker on {own}.activities (worker) where worker is not null and offered;

create table {own}.updates (
    workflow_uuid text     not null
                           references {dbos}.workflow_status (workflow_uuid) on update cascade on delete cascade,
    update_id     text     not null,
    stage         smallint not null,
    outcome       text,
    watched       boolean  not null default false,
    primary key (workflow_uuid, update_id)
);

-- Questions between processes (query, activity completion by id): asked, taken by one, answered, removed by the asker.
create table {own}.requests (
    request_id    text   primary key,
    workflow_uuid text   not null,
    task_queue    text   not null,
    kind          text   not null,
    payload       text   not null,
    deadline_ms   bigint not null,
    worker        text,
    response      text
);
create index requests_open on {own}.requests (task_queue) where response is null;

-- Schedules. What their user said and how far they have come is in the record; a change names the version it has read.
create table {own}.schedules (
    schedule_id       text   primary key,
    version           bigint not null default 1,
    request_id        text,
    created_ms        bigint not null,
    wake_at_ms        bigint,
    record            text   not null,
    memo              text,
    search_attributes jsonb
);
create index schedules_due on {own}.schedules (wake_at_ms) where wake_at_ms is not null;
create index schedules_listing on {own}.schedules (created_ms, schedule_id collate "C");

-- Runs of schedules that have closed: each makes its schedule due. Only ever inserted into by the runs' transactions, so
-- that closing a run waits for nobody who is busy with its schedule.
create table {own}.schedule_news (
    number      bigint generated always as identity primary key,
    schedule_id text   not null
);

create function {own}.tell_schedule() returns trigger language plpgsql as $$
begin
    insert into {own}.schedule_news (schedule_id) values (old.search_attributes ->> 'TemporalScheduledById');
    perform pg_notify('dbos_compat_wake', {wake} || 'schedule|');
    return null;
end $$;
create trigger runs_closed_of_schedule after update of status on {own}.runs for each row
    when (old.status = 1 and new.status <> 1 and old.search_attributes ? 'TemporalScheduledById')
    execute function {own}.tell_schedule();
create trigger runs_deleted_of_schedule after delete on {own}.runs for each row
    when (old.status = 1 and old.search_attributes ? 'TemporalScheduledById')
    execute function {own}.tell_schedule();

-- Jobs about many runs (batch operations): held by one process at a time, each with a lease of its own.
create table {own}.jobs (
    job_id         text     primary key,
    kind           smallint not null,
    job_order      text     not null,
    state          smallint not null default 1,
    start_ms       bigint   not null,
    close_ms       bigint,
    total          bigint   not null default 0,
    done           bigint   not null default 0,
    failed         bigint   not null default 0,
    position       text,
    owner          text,
    lease_until_ms bigint   not null,
    constraint jobs_closed check ((state = 1) = (close_ms is null))
);
create index jobs_open on {own}.jobs (lease_until_ms) where state = 1;
create index jobs_listing on {own}.jobs (start_ms, job_id collate "C");
