"""``dbos-compat shadow``: judge recorded runs on the core, and tell people and programs what came of it."""
