-- Results of tools above the kernel, version 2: of what was read from a file, a digest of it.

alter table {own}.results add column digest text not null default '';
