"""The test suite; a package so that fixtures and helpers can be imported by name."""
