"""Bugs as they happen, each a small workflow that the determinism kit has to find, beside its mended form."""
