"""The checkout on Temporal, and the proof that the core does the same: six recorded runs, judged without any server.

    python -m examples.shadow.record           # plays six carts on a Temporal development server, writes histories/
    dbos-compat shadow replay examples/shadow/histories -w examples.checkout.workflows -o report.html
    dbos-compat shadow replay examples/shadow/histories -w examples.shadow.changed -o report.html
    pytest -p dbos_shadow.pytest_plugin --shadow-histories examples/shadow/histories \
        --shadow-workflows examples.checkout.workflows
    python -m examples.shadow.mirror           # the same carts, judged while a development server plays them

``histories`` holds what a server has recorded, so the three in the middle need none. ``changed`` is the checkout with a mistake.
"""
