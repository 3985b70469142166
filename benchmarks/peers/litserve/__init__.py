"""The peer: LitServe."""
