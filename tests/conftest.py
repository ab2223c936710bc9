"""Loads the fixture modules; a fixture for one folder lives in that folder's conftest."""

pytest_plugins = [
    "pytester",
    "tests.fixtures.postgres",
    "tests.fixtures.process",
    "tests.fixtures.temporal",
]
