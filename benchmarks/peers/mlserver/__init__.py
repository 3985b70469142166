"""The peer: MLServer."""
