"""The peer: BentoML."""
