"""dbos_core: a checkpoint kernel on Postgres. It has never heard of Temporal."""
