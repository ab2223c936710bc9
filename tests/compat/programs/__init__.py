"""Small workflow programs made up from a grammar, run on a Temporal dev server and on our engine, and compared."""
