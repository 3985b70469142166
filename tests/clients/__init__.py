"""The clients of others, unmodified, against the service as a process of its own."""
