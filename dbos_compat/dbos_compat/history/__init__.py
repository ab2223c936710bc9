"""Journal → Temporal events."""
