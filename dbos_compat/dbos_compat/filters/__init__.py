"""Temporal list filters: text → tree."""
