"""Small programs that are run by the tests."""
