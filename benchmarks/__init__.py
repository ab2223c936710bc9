"""Side-by-side benchmarks: the budgets of the design, measured in one run on one Postgres.

``python -m benchmarks --help`` lists the flags; README.md tells what each number means. This package is a
development tool and is not part of the distribution. Modules under ``contenders`` run in the virtual
environment of the engine they measure, so they and what they import (``protocol``, ``load``) keep to the
standard library and that engine.
"""
