"""Results: where judgements are kept between sessions, so that nothing is judged twice and a report can be made later.

* ``kept``: a judgement → a line of JSON without payload values, and back;
* ``lines``: a file of such lines, for whoever has no database at hand;
* ``shards``: several such files as one;
* in Postgres: ``dbos_core.store.postgres.results``.
"""
