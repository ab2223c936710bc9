"""A checkout as an ordinary Temporal application.

Reserve inventory → charge the card → wait for an approval → create the order → confirm by e-mail; what was
done is taken back when a later step fails. ``workflows.py`` and ``activities.py`` import temporalio and nothing
of dbos-compat. Which engine runs them is decided by one line, in ``engine.py``.

    python -m examples.checkout.worker                       # in one terminal
    python -m examples.checkout.starter start cart-1         # in another

Both use an embedded Postgres; with ``DBOS_SYSTEM_DATABASE_URL`` set, the Postgres that it names; with
``TEMPORAL_ADDRESS`` set, a Temporal server.
"""
