-- Task queues of which a process starts activities under a rate that all processes share.
alter table {own}.processes add column limited_queues text[] not null default '{}';
