"""The determinism kit turned on ourselves: a kernel with a bug is caught."""
