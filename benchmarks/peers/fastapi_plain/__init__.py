"""The peer: a plain FastAPI service."""
