"""Seeded edits of workflow code: each is one place in the source of a program, and what must be said of it.

``mutation`` rewrites and loads, ``table`` has the edits, ``tests/shadow/test_mutations.py`` judges them.
"""
