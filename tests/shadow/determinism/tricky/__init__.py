"""Correct workflows of shapes that are easily taken for wrong ones: the kit must not blame them."""
