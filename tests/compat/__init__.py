"""One behaviour, two engines: every test here runs on a Temporal dev server and on ours."""
