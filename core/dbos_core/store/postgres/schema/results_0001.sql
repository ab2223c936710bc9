-- Results of tools above the kernel, version 1; a schema of its own ({own}), apart from what any run needs.

create table {own}.meta (
    key   text primary key,
    value text not null
);

create table {own}.campaigns (
    config   text   primary key,
    name     text   not null default '',
    settings text   not null,
    summary  text   not null default '{}',
    begun_ms bigint not null
);

create index campaigns_name on {own}.campaigns (name, begun_ms desc);

create table {own}.results (
    config        text    not null references {own}.campaigns (config) on delete cascade,
    -- Everywhere in the same order, whatever the database's language.
    workflow_type text collate "C" not null,
    workflow_id   text collate "C" not null,
    run_id        text collate "C" not null,
    verdict       text    not null,
    reason        text    not null default '',
    shape         text    not null default '',
    events        integer not null default 0,
    at_ms         bigint  not null,
    document      text    not null,
    primary key (config, workflow_type, workflow_id, run_id)
);

-- Retention goes by age.
create index results_age on {own}.results (at_ms);
