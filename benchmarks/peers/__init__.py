"""Other model servers, each configured as its own documentation advises, each run in an environment of its own."""
