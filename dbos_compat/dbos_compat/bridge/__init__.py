"""The worker half of the seam: activations ⇄ commands."""
