"""One file per bug."""
