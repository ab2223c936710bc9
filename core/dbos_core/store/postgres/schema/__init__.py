"""Schema: the DDL of both schemas of a namespace, their names, and the migration that makes them."""
