"""The README's pictures."""
