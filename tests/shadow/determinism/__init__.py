"""The determinism kit itself, and the workflows that must pass it."""
